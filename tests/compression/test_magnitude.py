"""Magnitude pruning against sorting, and its exact counts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from references.pruning import count, first_ranked, first_ranked_globally
from shrinkscope.compression import MagnitudePruning, Mask
from shrinkscope.compression.ranking import Order
from shrinkscope.weights import compressible

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
ORDERS: list[Order] = ["lowest", "highest"]
levels = st.floats(0, 1)
# Small integers over 8: exact in every type, with ties and zeros of both signs everywhere.
values = st.lists(st.integers(-5, 5).map(lambda i: i / 8) | st.just(-0.0), max_size=24)


def removed(mask: Mask, name: str) -> set[int]:
    return set((~mask[name]).flatten().nonzero().flatten().tolist())


def magnitudes(weight: Tensor) -> list[float]:
    return [abs(value) for value in weight.flatten().tolist()]


@given(entries=values, level=levels, order=st.sampled_from(ORDERS), dtype=st.sampled_from(DTYPES))
def test_one_layer_agrees_with_a_stable_sort(
    entries: list[float], level: float, order: Order, dtype: torch.dtype
) -> None:
    weight = torch.tensor(entries, dtype=dtype)
    mask = MagnitudePruning(level=level, order=order).mask({"w": weight})
    assert removed(mask, "w") == first_ranked(magnitudes(weight), count(level, len(entries)), order)


@given(layers=st.lists(values, min_size=1, max_size=4), level=levels, order=st.sampled_from(ORDERS))
def test_global_scope_agrees_with_a_stable_sort_of_everything(
    layers: list[list[float]], level: float, order: Order
) -> None:
    # Layers of alternating precision: they are ranked on one scale.
    weights = {str(i): torch.tensor(w, dtype=DTYPES[i % len(DTYPES)]) for i, w in enumerate(layers)}
    mask = MagnitudePruning(level=level, order=order, scope="global").mask(weights)
    total = count(level, sum(map(len, layers)))
    assert mask.removed() == total
    expected = first_ranked_globally({name: magnitudes(w) for name, w in weights.items()}, total, order)
    assert {name: removed(mask, name) for name in mask} == expected


@given(
    entries=values,
    pair=st.tuples(levels, levels),
    order=st.sampled_from(ORDERS),
    scope=st.sampled_from(["layer", "global"]),
)
def test_a_higher_level_removes_a_superset(entries, pair: tuple[float, float], order: Order, scope) -> None:
    half = len(entries) // 2
    weights = {"a": torch.tensor(entries[:half]), "b": torch.tensor(entries[half:])}
    less, more = (MagnitudePruning(level=x, order=order, scope=scope).mask(weights) for x in sorted(pair))
    for name in weights:
        assert removed(less, name) <= removed(more, name)


@pytest.mark.parametrize("order", ORDERS)
def test_every_weight_equal(order: Order) -> None:
    mask = MagnitudePruning(level=0.3, order=order).mask({"w": torch.full((2, 5), -0.25)})
    assert mask["w"].tolist() == [[False, False, False, True, True], [True] * 5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", [0.1, 0.3, 0.5, 0.8])
def test_lowest_and_highest_separate_magnitudes_on_a_real_layer(dtype: torch.dtype, level: float) -> None:
    weight = torch.randn(64, 37, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    low = MagnitudePruning(level=level).mask({"w": weight})["w"]
    high = MagnitudePruning(level=level, order="highest").mask({"w": weight})["w"]
    number = count(level, 64 * 37)
    assert int((~low).sum()) == int((~high).sum()) == number
    assert weight[~low].abs().max() <= weight[low].abs().min()
    assert weight[~high].abs().min() >= weight[high].abs().max()


def test_layers_without_elements_lose_nothing() -> None:
    weights = {"empty": torch.ones(0, 3), "none": torch.ones(4, 0), "w": torch.arange(10.0)}
    for scope in ("layer", "global"):
        mask = MagnitudePruning(level=0.3, scope=scope).mask(weights)
        assert [mask.removed(name) for name in mask] == [0, 0, 3]
        assert mask["none"].shape == (4, 0)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (4, 2, 3, 3), (12,), ()])
def test_the_mask_has_the_shape_of_the_weight(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    assert MagnitudePruning(level=1.0).mask({"w": weight})["w"].shape == shape


def test_a_transposed_view_is_ranked_in_its_own_order() -> None:
    weight = torch.tensor([[1.0, 1.0, 2.0], [1.0, 0.5, 1.0]]).t()
    mask = MagnitudePruning(level=0.5).mask({"w": weight})
    assert removed(mask, "w") == first_ranked(magnitudes(weight), 3, "lowest")


def test_last_scope_prunes_the_head_alone(network: nn.Module) -> None:
    weights = compressible(network)
    method = MagnitudePruning(level=0.3, scope="last")
    assert list(method.mask(weights)) == ["head.weight"]
    new = method.compress(weights)
    assert new["conv.weight"] is weights["conv.weight"]
    assert int((new["head.weight"] == 0).sum()) == count(0.3, 48)


def test_the_level_of_each_layer_is_exact_on_a_network(network: nn.Module) -> None:
    weights = compressible(network)
    mask = MagnitudePruning(level=0.35).mask(weights)
    assert {name: mask.removed(name) for name in mask} == {n: count(0.35, w.numel()) for n, w in weights.items()}


def test_the_weights_are_not_touched() -> None:
    weight = torch.arange(6.0)
    MagnitudePruning(level=0.5).compress({"w": weight})
    assert weight.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
