"""Structured pruning: whole channels, exact counts, norms against a direct sum."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.pruning import count, first_ranked, first_ranked_globally
from shrinkscope.compression import Mask, StructuredPruning
from shrinkscope.compression.ranking import Order
from shrinkscope.compression.structured import Norm
from shrinkscope.errors import CompressionError

norms = st.sampled_from(["l1", "l2"])
orders = st.sampled_from(["lowest", "highest"])


def channel_norms(weight: torch.Tensor, norm: Norm) -> list[float]:
    """By definition, in plain Python; the weights are integers, so that sums are exact and ties are real ties."""
    rows = [row.flatten().tolist() for row in weight]
    return [float(sum(abs(x) for x in r)) if norm == "l1" else math.sqrt(sum(x * x for x in r)) for r in rows]


def removed_channels(mask: Mask, name: str) -> set[int]:
    by_channel = mask[name].flatten(1)
    assert (by_channel.all(1) | ~by_channel.any(1)).all(), "a channel is removed whole or not at all"
    return set((~by_channel.all(1)).nonzero().flatten().tolist())


@given(
    shape=st.sampled_from([(7, 3), (5, 2, 3), (6, 2, 2, 2), (1, 4)]),
    seed=st.integers(0, 10**6),
    level=st.floats(0, 1),
    norm=norms,
    order=orders,
)
def test_channels_agree_with_a_stable_sort_of_norms(
    shape: tuple[int, ...], seed: int, level: float, norm: Norm, order: Order
) -> None:
    weight = torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).to(torch.float32)
    mask = StructuredPruning(level=level, norm=norm, order=order).mask({"w": weight})
    assert mask["w"].shape == shape
    assert removed_channels(mask, "w") == first_ranked(channel_norms(weight, norm), count(level, shape[0]), order)


@given(seed=st.integers(0, 10**6), level=st.floats(0, 1), norm=norms, order=orders)
def test_global_scope_counts_channels_of_all_layers(seed: int, level: float, norm: Norm, order: Order) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randint(-2, 3, shape, generator=generator).to(torch.float64)
        for name, shape in {"conv": (6, 2, 2, 2), "fc": (5, 8), "head": (3, 5)}.items()
    }
    mask = StructuredPruning(level=level, norm=norm, order=order, scope="global").mask(weights)
    expected = first_ranked_globally(
        {name: channel_norms(w, norm) for name, w in weights.items()}, count(level, 14), order
    )
    assert {name: removed_channels(mask, name) for name in mask} == expected


def test_norms_can_disagree() -> None:
    weight = torch.tensor([[3.0, 0.0, 0.0], [1.25, 1.25, 1.25]])
    masks = {norm: StructuredPruning(level=0.5, norm=norm).mask({"w": weight}) for norm in ("l1", "l2")}
    assert removed_channels(masks["l1"], "w") == {0}  # 3 against 3.75
    assert removed_channels(masks["l2"], "w") == {1}  # 3 against 2.165


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_half_precision_norms_do_not_overflow(norm: Norm) -> None:
    # The sums, 120,000 and 84,853, are beyond float16, whose largest number is 65,504.
    weight = torch.tensor([[60_000.0, 60_000.0], [59_008.0, 60_000.0]], dtype=torch.float16)
    assert removed_channels(StructuredPruning(level=0.5, norm=norm).mask({"w": weight}), "w") == {1}


def test_random_order_is_drawn_from_the_generator() -> None:
    weights = {"w": torch.arange(40.0).view(20, 2)}
    method = StructuredPruning(level=0.25, order="random")
    mask = method.mask(weights, torch.Generator().manual_seed(1))
    assert len(removed_channels(mask, "w")) == 5
    assert method.mask(weights, torch.Generator().manual_seed(1)) == mask
    assert method.mask(weights, torch.Generator().manual_seed(2)) != mask
    assert str(method) == "random channels 25 % (layer)"


def test_random_order_needs_a_generator() -> None:
    with pytest.raises(CompressionError, match="random pruning needs a generator"):
        StructuredPruning(level=0.25, order="random").mask({"w": torch.ones(4, 2)})


def test_layers_without_elements_count_no_channels() -> None:
    weights = {"no inputs": torch.ones(4, 0), "no outputs": torch.ones(0, 4), "w": torch.arange(8.0).view(4, 2)}
    mask = StructuredPruning(level=0.5, scope="global").mask(weights)
    assert removed_channels(mask, "w") == {0, 1}
    assert mask.removed() == 4
    assert StructuredPruning(level=0.5, order="random").mask(weights, torch.Generator()).removed("no inputs") == 0


def test_compress_zeroes_whole_channels() -> None:
    weight = torch.tensor([[1.0, 1.0], [-5.0, 5.0]])
    assert StructuredPruning(level=0.5).compress({"w": weight})["w"].tolist() == [[0.0, 0.0], [-5.0, 5.0]]
