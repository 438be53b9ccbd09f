"""Structured pruning undone: networks cut channel by channel here, and put back by the mapping."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from references.structured import keep, removed, rescaled, resnet20_wiring, retrained, zeros_in_place
from shrinkscope.errors import PairingError
from shrinkscope.weights import open_weights
from shrinkscope.weights.mapping import Alignment, Rules, Step, comparable

DATA = Path(__file__).parents[4] / "shared/data/weights"
Wiring = dict[str, tuple[str | None, str | None]]


def network(name: str) -> dict[str, Tensor]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} in shared/data/weights")
    with np.load(path) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def aligned(dense: dict, compressed: dict, **rules) -> Step:
    return comparable(open_weights(dense), open_weights(compressed), Rules(**rules))


def read(step: Step) -> dict[str, Tensor]:
    return {name: view.read() for name, view in step.compressed.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    wrong = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert wrong == []


def resnet_kept(generator: torch.Generator, share: float, shuffled: bool) -> dict[str, Tensor]:
    sizes = {f"stream{s}": 8 << s for s in (1, 2, 3)}
    sizes |= {f"inner{s}.{b}": 8 << s for s in (1, 2, 3) for b in range(3)}
    return {space: keep(generator, size, round(share * size), shuffled) for space, size in sizes.items()}


def misplaced(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest share of a weight matrix's squared values that is not where it belongs."""
    squares = {n: float((found[n] - e).square().sum() / e.square().sum()) for n, e in expected.items() if e.dim() > 1}
    return max(squares.values())


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_resnet20_pruned_through_streams_and_blocks_is_put_back(shuffled, noise):
    dense, wiring = network("cifar10_resnet20_akamaster.npz"), resnet20_wiring()
    generator = torch.Generator().manual_seed(7)
    kept = resnet_kept(generator, 0.625, shuffled)
    narrow = rescaled(removed(dense, wiring, kept), noise, generator)
    step = aligned(dense, narrow)
    assert step.reasons == {}
    assert_same(read(step), zeros_in_place(narrow, dense, wiring, kept))
    assert step.compressed["conv1.weight"].stored == 10 * 27
    text = {note.layer: note.text for note in step.notes}
    order = "in another order" if shuffled else "in their old order"
    assert order in text["conv1.weight"]
    assert "certainty 100%" in text["layer3.2.conv1.weight"]
    assert "as in conv1.weight" in text["layer1.0.conv2.weight"]  # the residual sum's set, found once


def test_noise_that_drowns_dead_channels_costs_certainty_and_little_else():
    dense, wiring = network("cifar10_resnet20_akamaster.npz"), resnet20_wiring()
    generator = torch.Generator().manual_seed(7)
    kept = resnet_kept(generator, 0.625, True)
    narrow = retrained(removed(dense, wiring, kept), 0.2, generator)
    step = aligned(dense, narrow)
    assert step.reasons == {}
    assert any("certainty 90%" in note.text for note in step.notes)
    # A channel whose own weights are smaller than the noise cannot be told; it carries little of the layer.
    assert misplaced(read(step), zeros_in_place(narrow, dense, wiring, kept)) < 0.1


def test_inner_channels_alone_leave_the_stream_as_it_was():
    dense, wiring = network("cifar10_resnet20_akamaster.npz"), resnet20_wiring()
    generator = torch.Generator().manual_seed(8)
    kept = {s: k for s, k in resnet_kept(generator, 0.5, True).items() if s.startswith("inner")}
    narrow = rescaled(removed(dense, wiring, kept), 0.2, generator)
    assert_same(read(aligned(dense, narrow)), zeros_in_place(narrow, dense, wiring, kept))


LENET: Wiring = {
    "fc1.weight": ("one", None),
    "fc1.bias": ("one", None),
    "fc2.weight": ("two", "one"),
    "fc2.bias": ("two", None),
    "fc3.weight": (None, "two"),
}


def test_lenet300_pruned_and_retrained_by_others_is_put_back():
    dense, after = network("lenet300_rjoe_dense.npz"), network("lenet300_rjoe_pruned_retrained.npz")
    generator = torch.Generator().manual_seed(9)
    kept = {"one": keep(generator, 300, 120, True), "two": keep(generator, 100, 60, True)}
    narrow = removed(after, LENET, kept)
    step = aligned(dense, narrow)
    assert step.reasons == {}
    # Single weights were pruned as well, nine in ten, and a few units kept so little that they cannot be told. Of the
    # ten outputs' 600 weights a tenth of the squares is theirs.
    assert misplaced(read(step), zeros_in_place(narrow, dense, LENET, kept)) < 0.15


def test_lenet300_is_put_back_from_its_retrained_values():
    dense = network("lenet300_rjoe_dense.npz")
    generator = torch.Generator().manual_seed(9)
    kept = {"one": keep(generator, 300, 120, True), "two": keep(generator, 100, 60, True)}
    narrow = rescaled(removed(dense, LENET, kept), 0.3, generator)
    assert_same(read(aligned(dense, narrow)), zeros_in_place(narrow, dense, LENET, kept))
    # A quarter of the 300 units are so weak that noise hides which they are: that is said, and can be allowed.
    noisy = retrained(removed(dense, LENET, kept), 0.15, generator)
    assert "of the matches are certain, 80% are needed" in aligned(dense, noisy).reasons["fc1.weight"]
    allowed = aligned(dense, noisy, alignment=Alignment(certainty=0.6))
    assert misplaced(read(allowed), zeros_in_place(noisy, dense, LENET, kept)) < 0.05


def transformer(generator: torch.Generator) -> dict[str, Tensor]:
    shapes = {"embed.weight": (50, 32)}
    for layer in range(3):
        shapes |= {
            f"layers.{layer}.gate_proj.weight": (96, 32),
            f"layers.{layer}.up_proj.weight": (96, 32),
            f"layers.{layer}.down_proj.weight": (32, 96),
            f"layers.{layer}.norm.weight": (32,),
        }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_transformer_mlps_and_width_are_put_back():
    generator = torch.Generator().manual_seed(10)
    dense = transformer(generator)
    wiring: Wiring = {"embed.weight": (None, "width")}
    # The stream's size is read off a tensor whose outputs it is.
    for layer in range(3):
        wiring[f"layers.{layer}.down_proj.weight"] = ("width", f"mlp{layer}")
        wiring[f"layers.{layer}.gate_proj.weight"] = (f"mlp{layer}", "width")
        wiring[f"layers.{layer}.up_proj.weight"] = (f"mlp{layer}", "width")
        wiring[f"layers.{layer}.norm.weight"] = ("width", None)
    kept = {f"mlp{layer}": keep(generator, 96, 60, layer > 0) for layer in range(3)}
    kept["width"] = keep(generator, 32, 24, True)
    narrow = retrained(removed(dense, wiring, kept), 0.1, generator)
    step = aligned(dense, narrow)
    assert_same(read(step), zeros_in_place(narrow, dense, wiring, kept))
    by_layer = {note.layer: note.text for note in step.notes}
    assert "as in layers.1.gate_proj.weight" in by_layer["layers.1.up_proj.weight"]


class Small(nn.Module):
    """Convolution, batch norm, depthwise and grouped convolution, flattening, two linear layers."""

    def __init__(self, width: int, deep: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, groups=width)
        self.point = nn.Conv2d(width, deep, 1)
        self.fc1 = nn.Linear(deep * 16, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        x = torch.relu(self.point(self.depthwise(x)))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def test_the_network_put_back_computes_what_the_narrow_one_computes():
    torch.manual_seed(11)  # modules draw their start from the global generator
    generator = torch.Generator().manual_seed(11)
    wide = Small(24, 20, 40).eval()
    with torch.no_grad():
        for tensor in (wide.bn.weight, wide.bn.bias, wide.bn.running_mean):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    wiring: Wiring = {"point.weight": ("p", "c"), "fc1.weight": ("h", "p"), "fc2.weight": (None, "h")}
    wiring |= {f"conv.{part}": ("c", None) for part in ("weight", "bias")}
    wiring |= {f"depthwise.{part}": ("c", None) for part in ("weight", "bias")}
    wiring |= {f"bn.{part}": ("c", None) for part in ("weight", "bias", "running_mean", "running_var")}
    wiring |= {"point.bias": ("p", None), "fc1.bias": ("h", None)}
    dense = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    kept = {"c": keep(generator, 24, 15, True), "p": keep(generator, 20, 12, True), "h": keep(generator, 40, 31, False)}
    narrow = Small(15, 12, 31).eval()
    narrow.load_state_dict(removed(dense, wiring, kept))
    step = aligned(dense, dict(narrow.state_dict()))
    assert step.reasons == {}
    wide.load_state_dict(read(step))
    x = torch.randn(4, 3, 8, 8, generator=generator)
    # float32 sums of a few hundred terms in another order
    torch.testing.assert_close(wide(x), narrow(x), rtol=1e-4, atol=1e-5)


def test_another_network_of_the_right_shape_is_not_compared():
    dense, wiring = network("cifar10_resnet20_akamaster.npz"), resnet20_wiring()
    generator = torch.Generator().manual_seed(12)
    narrow = removed(dense, wiring, resnet_kept(generator, 0.625, False))
    stranger = {name: tensor[torch.randperm(len(tensor), generator=generator)] for name, tensor in narrow.items()}
    stranger = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in stranger.items()}
    step = aligned(dense, stranger)
    assert not [note for note in step.notes if note.kind == "channels"]
    assert "of the matches are certain, 80% are needed" in step.reasons["conv1.weight"]
    assert "give them with --kept" in step.reasons["layer1.0.conv1.weight"]
    assert step.reasons["bn1.weight"] == "no layer with these kept channels was found"


def test_given_channels_are_used_and_wrong_ones_noticed():
    generator = torch.Generator().manual_seed(13)
    dense = {"a.weight": torch.randn(8, 30, generator=generator), "b.weight": torch.randn(5, 8, generator=generator)}
    index = torch.tensor([6, 1, 3, 4])
    narrow = {"a.weight": dense["a.weight"][index], "b.weight": dense["b.weight"][:, index]}
    right = aligned(dense, narrow, kept={"a": (6, 1, 3, 4)})
    assert torch.equal(read(right)["a.weight"][index], narrow["a.weight"])
    assert torch.equal(read(right)["b.weight"][:, index], narrow["b.weight"])
    assert "given, certainty 100%" in right.notes[0].text
    wrong = aligned(dense, narrow, kept={"a": (0, 2, 5, 7), "b.weight[1]": (0, 2, 5, 7)})
    assert "that were given do not fit its values" in wrong.reasons["a.weight"]
    assert wrong.reasons.keys() == {"a.weight", "b.weight"}


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"z": (0,)}, "no such layer in both networks"),
        ({"a": (0, 1)}, "2 indices given, and 3 channels are left"),
        ({"a": (0, 1, 1)}, "expected different indices from 0 to 3"),
        ({"a": (0, 1, 4)}, "expected different indices from 0 to 3"),
        ({"a.weight[2]": (0, 1, 2)}, "expected a layer's name, or a tensor's with"),
        ({"s[1]": (0,)}, "has no such dimension"),
    ],
)
def test_kept_channels_that_belong_to_other_shapes_are_refused(kept, message):
    dense, narrow = (
        {"a.weight": torch.ones(4, 2), "s": torch.ones(2)},
        {"a.weight": torch.ones(3, 2), "s": torch.ones(2)},
    )
    with pytest.raises(PairingError, match=message):
        aligned(dense, narrow, kept=kept)


def test_shapes_that_pruning_does_not_make_are_explained():
    dense = {"k": torch.ones(4, 2, 3), "g": torch.ones(4, 2), "d": torch.ones(4, 2), "e": torch.ones(2, 2)}
    after = {"k": torch.ones(4, 2, 5), "g": torch.ones(5, 2), "d": torch.ones(4), "e": torch.ones(0, 2)}
    reasons = aligned(dense, after).reasons
    assert reasons["k"] == "sizes beyond the channels differ"
    assert reasons["g"].startswith("it has grown")
    assert reasons["d"] == "the numbers of dimensions differ"
    assert reasons["e"].startswith("it has grown, or nothing is left")


def test_the_certainty_asked_for_decides():
    generator = torch.Generator().manual_seed(14)
    dense = {"a": torch.randn(20, 40, generator=generator)}
    narrow = {"a": dense["a"][:16].clone()}
    narrow["a"][:4] = torch.randn(4, 40, generator=generator)  # a quarter of the channels became others
    assert "75% of the matches are certain" in aligned(dense, narrow).reasons["a"]
    assert aligned(dense, narrow, alignment=Alignment(certainty=0.7)).reasons == {}


def test_windows_agree_with_the_whole_tensor():
    generator = torch.Generator().manual_seed(15)
    dense = {"a": torch.randn(9, 6, 2, generator=generator), "b": torch.randn(7, 9, generator=generator)}
    index = keep(generator, 9, 5, True)
    step = aligned(dense, {"a": dense["a"][index], "b": dense["b"][:, index]})
    for view in step.compressed.values():
        whole = view.read().reshape(-1)
        for start, stop in ((0, 0), (0, 1), (3, 17), (20, len(whole))):
            assert torch.equal(view.piece(start, stop), whole[start:stop])
