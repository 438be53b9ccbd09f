"""Statistics that workers gather in processes of their own, hand on in files, and merge to that of a single pass."""

import subprocess
import sys

import msgspec
import pytest
import torch
from safetensors import safe_open
from torch import nn

from shrinkscope.curvature import fisher_diagonal, input_moments, kronecker_fisher, load_gathered, save_gathered
from shrinkscope.errors import CurvatureError
from shrinkscope.weights import save_tensors

# Sums of a few hundred float64 products in two orders.
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}

MODEL = """
import torch
from torch import nn
from shrinkscope.curvature import fisher_diagonal, input_moments, kronecker_fisher, save_gathered

class Network(nn.Module):
    '''A transposed convolution, attention, a tied weight, and one output for each position.'''

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose1d(3, 4, 2, stride=2, groups=1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = self.up(inputs).transpose(1, 2)
        hidden = self.attention(hidden, hidden[:, 1:], hidden[:, 1:])[0]
        return self.head(torch.tanh(self.two(torch.tanh(self.one(hidden)))))

def network():
    torch.manual_seed(0)
    return Network().to(torch.float64)

def images():
    return torch.randn(7, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

GATHER = {
    "moments": lambda part: input_moments(network(), part),
    "blocks": lambda part: input_moments(network(), part, structure="block"),
    "tokens": lambda part: fisher_diagonal(network(), part, kind="tokens", draws=None),
    "numbers": lambda part: fisher_diagonal(network(), part, kind="regression", scale=0.5, draws=None),
    "kfac": lambda part: kronecker_fisher(network(), part, kind="tokens", draws=None, batch_size=2),
    "kfac_numbers": lambda part: kronecker_fisher(network(), part, kind="regression", scale=0.5, draws=None),
}
"""
WORK = """
import sys
first, last, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for name, gather in GATHER.items():
    save_gathered(f"{folder}/{name}-{first}.safetensors", gather(images()[first:last]))
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two processes at the same time, each with its own inputs; what they gathered."""
    folder = tmp_path_factory.mktemp("workers")
    arguments = [("0", "3"), ("3", "7")]
    running = [
        subprocess.Popen([sys.executable, "-c", MODEL + WORK, *part, str(folder)], stderr=subprocess.PIPE, text=True)
        for part in arguments
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return folder


@pytest.fixture(scope="module")
def here():
    """The model and what gathers its statistics, in this process."""
    space = {}
    exec(MODEL, space)
    return space


def values(statistic, name):
    found = statistic.value(name)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("kind", ["moments", "blocks", "tokens", "numbers", "kfac", "kfac_numbers"])
def test_two_processes_merge_to_a_single_pass(workers, here, kind):
    parts = [load_gathered(workers / f"{kind}-{first}.safetensors") for first in (0, 3)]
    merged, whole = parts[0].merge(parts[1]), here["GATHER"][kind](here["images"]())
    assert [part.samples for part in (*parts, merged, whole)] == [3, 4, 7, 7]
    names = ["up.weight", "attention.in_proj_weight", "attention.out_proj.weight", "one.weight", "head.weight"]
    for name in names:
        for one, other in zip(values(merged, name), values(whole, name), strict=True):
            torch.testing.assert_close(one, other, **ROUNDING)
    found, truth = merged.precisions(), whole.precisions()
    assert (set(found), found.description, found.name) == (set(truth), truth.description, truth.name)
    assert set(found) == {*names, "two.weight"}
    for name, precision in truth.items():
        x = torch.randn(precision.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        assert found[name].quadratic(x) == pytest.approx(precision.quadratic(x), rel=1e-12)
    assert merged.absent == whole.absent


@pytest.mark.parametrize("kind", ["moments", "numbers", "kfac"])
def test_what_is_read_is_what_was_written_bit_for_bit(here, tmp_path, kind):
    whole = here["GATHER"][kind](here["images"]())
    save_gathered(tmp_path / "one.safetensors", whole)
    found = load_gathered(tmp_path / "one.safetensors")
    assert type(found) is type(whole)
    for field in ("samples", "absent", "draws", "kind", "scale", "structure", "names"):
        assert getattr(found, field, None) == getattr(whole, field, None)
    for name in whole.sums if kind == "numbers" else whole.layers:
        for one, other in zip(values(found, name), values(whole, name), strict=True):
            assert bool((one == other).all())


def test_a_file_that_is_none_or_broken_is_an_error_of_ours(tmp_path):
    path = tmp_path / "moments.safetensors"
    with pytest.raises(CurvatureError, match=r"moments\.safetensors: no such file"):
        load_gathered(path)
    model = nn.Sequential(nn.Linear(2, 2))
    save_gathered(path, input_moments(model, torch.ones(3, 2)))
    with safe_open(path, framework="pt") as file:
        metadata, sums = file.metadata(), file.get_tensor("inputs/0.weight")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 5])
    with pytest.raises(CurvatureError, match=r"not a readable safetensors file .*is it truncated\?"):
        load_gathered(path)
    save_tensors(path, {"x": sums})
    with pytest.raises(CurvatureError, match="has format None; expected 'shrinkscope.gathered.1'"):
        load_gathered(path)
    save_tensors(path, {"x": sums}, metadata)
    with pytest.raises(CurvatureError, match=r"holds no inputs/0\.weight, which its header lists"):
        load_gathered(path)
    save_tensors(path, {"inputs/0.weight": sums[0]}, metadata)
    with pytest.raises(CurvatureError, match=r"of shape \(1, 2, 2\); expected \(1, blocks, width, width\)"):
        load_gathered(path)
    save_tensors(path, {"inputs/0.weight": sums}, metadata | {"header": "{}"})
    with pytest.raises(CurvatureError, match="has an unreadable header"):
        load_gathered(path)
    header = msgspec.json.decode(metadata["header"])
    header["layers"]["0.weight"]["vectors"] = []
    save_tensors(path, {"inputs/0.weight": sums}, metadata | {"header": msgspec.json.encode(header).decode()})
    with pytest.raises(CurvatureError, match=r"counts 0 moments of 0\.weight, expected 1"):
        load_gathered(path)


@pytest.mark.parametrize("gather", [fisher_diagonal, kronecker_fisher])
def test_drawn_labels_of_workers_are_told_in_the_description(gather, tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    parts = [gather(model, torch.ones(3, 2), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    for number, part in enumerate(parts):
        save_gathered(tmp_path / f"{number}.safetensors", part)
    loaded = [load_gathered(tmp_path / f"{number}.safetensors") for number in (0, 1)]
    merged = loaded[0].merge(loaded[1])
    assert merged.precisions().description.endswith("of 6 inputs, labels drawn for each: 1")
