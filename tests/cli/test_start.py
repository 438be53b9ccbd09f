"""What a plain comparison imports: PyTorch takes longer to load than small files to compare."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shrinkscope import compare

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "torchvision", "sklearn", "pyarrow", "fsspec.implementations")
PROGRAM = """
import sys
from shrinkscope.cli import main
sys.argv = ["shrinkscope", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sorted(name for name in sys.modules if name in {heavy}), sep=",", file=sys.stderr)
"""


def states(kind: torch.dtype) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    dense = {
        "a.weight": torch.randn(40, 32, generator=generator).to(kind),
        "a.bias": torch.randn(40, generator=generator).to(kind),
        "norm.num_batches_tracked": torch.tensor(7),
        "norm.empty": torch.empty(0, dtype=kind),
    }
    pruned = {name: tensor.clone() for name, tensor in dense.items()}
    pruned["a.weight"][pruned["a.weight"].abs() < 0.5] = 0
    pruned["norm.num_batches_tracked"] += 1
    return dense, pruned


def as_safetensors(folder: Path, name: str, state: dict[str, torch.Tensor]) -> Path:
    save_file(state, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def as_archive(folder: Path, name: str, state: dict[str, torch.Tensor]) -> Path:
    np.savez(folder / f"{name}.npz", **{key: tensor.numpy() for key, tensor in state.items()})
    return folder / f"{name}.npz"


def as_shards(folder: Path, name: str, state: dict[str, torch.Tensor]) -> Path:
    place = folder / name
    place.mkdir()
    files = {key: f"model-0000{number}-of-00004.safetensors" for number, key in enumerate(state, start=1)}
    for key, file in files.items():
        save_file({key: state[key]}, place / file)
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return place


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (as_safetensors, torch.bfloat16),
        (as_safetensors, torch.float32),
        (as_safetensors, torch.float16),
        (as_archive, torch.float64),
        (as_shards, torch.bfloat16),
    ],
)
def test_a_plain_comparison_imports_nothing_heavy_and_says_the_same(tmp_path, write, kind):
    dense, pruned = states(kind)
    paths = [write(tmp_path, name, state) for name, state in (("dense", dense), ("pruned", pruned))]
    program = PROGRAM.replace("{heavy}", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", program, "diff", *map(str, paths), "--json"], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == ""
    # From memory everything goes through PyTorch's tensors.
    slow = json.loads(compare(dense, pruned).to_json())
    fast = json.loads(done.stdout)
    for key in ("total", "rows"):
        assert fast[key] == slow[key]


def test_types_that_differ_are_compared_without_it(tmp_path):
    dense, _ = states(torch.float32)
    _, pruned = states(torch.bfloat16)
    paths = [as_safetensors(tmp_path, name, state) for name, state in (("dense", dense), ("pruned", pruned))]
    program = PROGRAM.replace("{heavy}", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", program, "diff", *map(str, paths), "--json"], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == ""
    fast, slow = json.loads(done.stdout), json.loads(compare(dense, pruned).to_json())
    assert (fast["total"], fast["rows"]) == (slow["total"], slow["rows"])


def test_the_table_imports_nothing_heavy_either(tmp_path):
    dense, pruned = states(torch.bfloat16)
    paths = [as_safetensors(tmp_path, name, state) for name, state in (("dense", dense), ("pruned", pruned))]
    program = PROGRAM.replace("{heavy}", repr(HEAVY))
    arguments = ["diff", *map(str, paths), "--group-by", "layer", "--fail-if", "relative_ap2 > 2"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert "a.weight" in done.stdout or "a " in done.stdout
    assert done.stderr.splitlines()[-1] == ""
