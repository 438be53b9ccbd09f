"""Which layers a method reaches."""

import pytest
import torch
from torch import nn

from shrinkscope.compression import LowRank, MagnitudePruning, RandomPruning, UniformQuantisation
from shrinkscope.compression.scope import selected
from shrinkscope.errors import SelectionError
from shrinkscope.weights import LayerSelection, compressible

WEIGHTS = {"conv.weight": torch.ones(2, 1, 3, 3), "mid.weight": torch.ones(4, 5), "head.weight": torch.ones(3, 4)}


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (None, ["conv.weight", "mid.weight", "head.weight"]),
        ("mid*", ["mid.weight"]),
        (["head.*", "conv.*"], ["conv.weight", "head.weight"]),
        (LayerSelection(exclude=("mid*",)), ["conv.weight", "head.weight"]),
        (LayerSelection(roles=("linear",)), ["mid.weight", "head.weight"]),
        (LayerSelection(roles=("convolution",)), ["conv.weight"]),
    ],
)
def test_selection(layers, names: list[str]) -> None:
    assert list(selected(WEIGHTS, layers)) == names


def test_last_is_the_last_of_the_selected_layers() -> None:
    assert list(selected(WEIGHTS, None, "last")) == ["head.weight"]
    assert list(selected(WEIGHTS, LayerSelection(exclude=("head*",)), "last")) == ["mid.weight"]


@pytest.mark.parametrize(
    "method",
    [MagnitudePruning(level=0.5, layers="x*"), UniformQuantisation(bits=2, layers="x*"), LowRank(rank=1, layers="x*")],
)
def test_a_selection_of_nothing_lists_the_layers(method) -> None:
    message = r"layers='x\*' selects nothing to compress; the layers are conv\.weight, mid\.weight, head\.weight"
    with pytest.raises(SelectionError, match=message):
        method.compress(WEIGHTS)


def test_a_model_without_layers_to_compress() -> None:
    with pytest.raises(SelectionError, match="selects nothing to compress; the layers are none"):
        RandomPruning(level=0.5).mask(compressible(nn.LayerNorm(3)), torch.Generator())


def test_layers_outside_the_selection_are_the_same_tensors() -> None:
    for method in (MagnitudePruning(level=0.5, layers="mid*"), UniformQuantisation(bits=2, layers="mid*")):
        new = method.compress(WEIGHTS)
        assert list(new) == list(WEIGHTS)
        assert [new[name] is WEIGHTS[name] for name in WEIGHTS] == [True, False, True]
