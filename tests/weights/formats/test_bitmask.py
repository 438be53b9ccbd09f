"""compressed-tensors' sparse formats: a file of its last release that had them, and what such a file can get wrong."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights

MADE = Path(__file__).parents[1] / "data" / "sparse.safetensors"
"""Written with compressed-tensors 0.10.2; ``dense.X.weight`` holds what that library decompresses."""


@pytest.mark.parametrize("layer", ["a", "b", "c"])
def test_sparse_weights_are_what_the_library_decompresses(layer):
    weights = open_weights(MADE)
    view, expected = weights[f"{layer}.weight"], load_file(MADE)[f"dense.{layer}.weight"]
    assert (view.shape, view.dtype, view.role) == (tuple(expected.shape), expected.dtype, "linear")
    assert torch.equal(view.read(), expected)
    for size in (5, 16, 40):
        assert torch.equal(torch.cat(list(view.chunks(size))), expected.reshape(-1))


def test_nothing_else_is_left_of_them():
    weights = open_weights(MADE)
    assert sorted(weights) == [f"{x}{layer}.weight" for x in ("", "dense.") for layer in "abc"]
    assert not weights.unreadable


def broken(**parts: torch.Tensor) -> dict[str, torch.Tensor]:
    names = ("shape", "compressed", "bitmask", "row_offsets")
    state = load_file(MADE)
    return {f"a.weight.{name}": parts.get(name, state[f"a.weight.{name}"]) for name in names}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"shape": torch.tensor([9])}, "not two dimensions"),
        ({"shape": torch.tensor([9, 1 << 60])}, r"a mask of \[9, 3\]"),
        ({"row_offsets": torch.tensor([0, 5, 3, 9, 9, 9, 9, 9, 9])}, "not in order"),
        ({"row_offsets": torch.zeros(3, dtype=torch.int64)}, "not one for each row"),
        ({"compressed": torch.ones(3)}, "not in order"),
    ],
)
def test_parts_that_contradict_each_other_are_the_reason_why_it_is_unreadable(parts, reason):
    weights = open_weights(broken(**parts))
    assert list(weights) == []
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(weights.unreadable["a.weight"])


def test_a_mask_that_counts_other_values_is_found_when_it_is_read():
    mask = load_file(MADE)["a.weight.bitmask"].clone()
    mask[2] ^= 1
    with pytest.raises(WeightsError, match=r"a\.weight: its mask counts other values than are stored"):
        open_weights(broken(bitmask=mask))["a.weight"].read()


def test_two_of_four_needs_two_of_four():
    state = load_file(MADE)
    state["b.compressed"] = state["b.compressed"][:, :5].contiguous()
    assert "not two of four" in open_weights(state).unreadable["b.weight"]
