"""Allocations against the papers' formulas, and the counts that all of them must give exactly."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references import allocation as reference
from shrinkscope.analysis.plan.additive import CostCurve, additive, hull
from shrinkscope.analysis.plan.alpha_pruning import alpha_pruning, tail_exponent
from shrinkscope.analysis.plan.counts import apportion, by_density, by_sparsity
from shrinkscope.analysis.plan.erk import erk
from shrinkscope.analysis.plan.global_magnitude import global_magnitude
from shrinkscope.analysis.plan.lamp import lamp
from shrinkscope.analysis.plan.owl import outlier_share, owl
from shrinkscope.analysis.plan.sensitivity import sensitivity
from shrinkscope.analysis.plan.uniform import uniform
from shrinkscope.compression import MagnitudePruning
from shrinkscope.errors import CompressionError

SHAPES = {"a.weight": (6, 3, 3, 3), "b.weight": (8, 6, 3, 3), "c.weight": (5, 8)}
SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(0)
    return {
        name: scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        for (name, shape), scale in zip(SHAPES.items(), (1.0, 0.5, 2.0), strict=True)
    }


TOTALS = [0, 1, 317, 500, sum(SIZES.values()) - 1, sum(SIZES.values())]


@pytest.mark.parametrize("total", TOTALS)
def test_every_allocation_removes_exactly_the_total(weights, total):
    found = [
        uniform(SIZES, total),
        global_magnitude(weights, total),
        lamp(weights, total),
        erk(SHAPES, total),
        alpha_pruning(weights, total),
        owl({name: weight.abs() for name, weight in weights.items()}, total),
        additive({name: CostCurve((0, size // 2, size), (0.0, 1.0, 9.0)) for name, size in SIZES.items()}, total),
        sensitivity({name: CostCurve((0, size // 2, size), (0.0, 1.0, 9.0)) for name, size in SIZES.items()}, total),
    ]
    for counts in found:
        assert sum(counts.values()) == total
        assert all(0 <= counts[name] <= SIZES[name] for name in SIZES)


def test_uniform_is_within_one_weight_of_the_level():
    assert all(abs(count - 0.37 * SIZES[name]) < 1 for name, count in uniform(SIZES, round(0.37 * 634)).items())


@pytest.mark.parametrize("total", [100, 317, 600])
def test_lamp_is_that_of_the_definition(weights, total):
    expected = reference.lamp_counts([weight.flatten().tolist() for weight in weights.values()], total)
    assert list(lamp(weights, total).values()) == expected


@pytest.mark.parametrize("total", [100, 317, 600])
def test_global_is_what_global_magnitude_pruning_removes(weights, total):
    mask = MagnitudePruning(level=total / sum(SIZES.values()), scope="global").mask(weights)
    assert global_magnitude(weights, total) == {name: mask.removed(name) for name in weights}


@pytest.mark.parametrize("total", [100, 317, 600])
def test_erk_is_that_of_the_published_procedure(total):
    levels = reference.erk_levels(list(SHAPES.values()), 1 - total / sum(SIZES.values()))
    for count, level, size in zip(erk(SHAPES, total).values(), levels, SIZES.values(), strict=True):
        assert abs(count - level * size) < 1  # rounding to whole weights


def test_the_tail_exponent_is_hills_over_the_pooled_spectra(weights):
    kernel = weights["a.weight"]
    pooled = [
        float(value)
        for row in range(3)
        for column in range(3)
        for value in torch.linalg.eigvalsh(kernel[:, :, row, column].T @ kernel[:, :, row, column])
    ]
    # The eigenvalues of WᵀW and the squared singular values differ by rounding alone.
    assert tail_exponent(kernel) == pytest.approx(reference.hill(pooled), rel=1e-9)
    assert tail_exponent(torch.ones(1, 1, dtype=torch.float64)) == 1.0


def test_alpha_pruning_removes_more_where_the_tail_is_lighter(weights):
    exponents = {name: tail_exponent(weight) for name, weight in weights.items()}
    counts = alpha_pruning(weights, 300)
    levels = {name: counts[name] / SIZES[name] for name in SIZES}
    assert sorted(levels, key=levels.__getitem__) == sorted(exponents, key=exponents.__getitem__)
    # 1 + τ over 1 − τ, up to one weight of the smallest layer.
    assert max(levels.values()) / min(levels.values()) == pytest.approx(1.3 / 0.7, rel=2 / min(counts.values()))


def test_alpha_pruning_empties_no_small_layer_beside_a_large_one(weights):
    torch.manual_seed(0)
    # A spectrum of one heavy value has the heaviest tail, so that all others would get 1.3/0.7 of its level.
    large = torch.randn(200, 1, dtype=torch.float64) @ torch.randn(1, 200, dtype=torch.float64)
    large += 1e-3 * torch.randn(200, 200, dtype=torch.float64).tril()
    layers = {"large": large, **weights}
    sizes = {name: weight.numel() for name, weight in layers.items()}
    total = round(0.8 * sum(sizes.values()))
    counts = alpha_pruning(layers, total)
    assert sum(counts.values()) == total
    assert all(counts[name] <= 0.9 * size + 1 for name, size in sizes.items())


def test_owl_spares_layers_with_outliers_by_twice_the_range():
    plain, spiky = torch.ones(100, dtype=torch.float64), torch.ones(100, dtype=torch.float64)
    spiky[:5] = 1000.0
    assert outlier_share(spiky, 5.0) == 0.05
    counts = owl({"plain": plain, "spiky": spiky}, 100, spread=0.1)
    assert counts == {"plain": 60, "spiky": 40}


def test_additive_is_the_least_cost_of_all_combinations():
    # Convex curves with single-weight steps: the hull is the curve, so the Lagrangian reaches the optimum itself.
    costs = {"a": [0, 1, 3, 7, 20], "b": [0, 2, 5, 9, 14], "c": [0, 0.5, 1.5, 8, 30]}
    curves = {name: CostCurve(range(5), values) for name, values in costs.items()}
    for total in range(13):
        counts = additive(curves, total)
        found = sum(costs[name][count] for name, count in counts.items())
        assert found == reference.least_cost([list(enumerate(values)) for values in costs.values()], total)


def test_the_hull_skips_what_lies_above_it():
    assert hull(CostCurve((0, 1, 2, 4), (0.0, 5.0, 2.0, 4.0))) == [(0, 0.0), (4, 4.0)]


_COSTS = st.lists(st.floats(0, 10), min_size=1, max_size=30)


@given(st.lists(_COSTS, min_size=1, max_size=5), st.floats(0, 1))
def test_sensitivity_is_where_greedy_steps_of_single_weights_end(costs, share):
    costs = [[0.0, *values] for values in costs]
    total = round(share * sum(len(values) - 1 for values in costs))
    counts = sensitivity({str(i): CostCurve(range(len(c)), c) for i, c in enumerate(costs)}, total)
    greedy = reference.greedy_counts(costs, total)
    assert sum(counts.values()) == total

    def bound(found):
        return max(max(values[: count + 1]) for values, count in zip(costs, found, strict=True))

    def next_bound(found):
        return min((max(v[: n + 2]) for v, n in zip(costs, found, strict=True) if n + 1 < len(v)), default=0.0)

    # Between two points of a curve the continuous bound takes part of a weight, which rounding gives to some layer:
    # no layer is further than one step beyond what the greedy bound allows.
    for values, count in zip(costs, counts.values(), strict=True):
        assert max(values[:count], default=0.0) <= max(bound(greedy), next_bound(greedy))


def test_sensitivity_brings_all_layers_to_one_cost():
    curves = {"robust": CostCurve((0, 100), (0.0, 1.0)), "frail": CostCurve((0, 50, 100), (0.0, 4.0, 4.0))}
    # At a cost of 1: 100 of the robust layer, and 50/4 of the frail one.
    assert sensitivity(curves, 112) == {"robust": 100, "frail": 12}
    # The frail one costs the same from 50 to 100.
    assert sensitivity(curves, 180) == {"robust": 100, "frail": 80}
    # Where additive prefers the layer whose cost rises more slowly, this one divides.
    assert additive(curves, 100) == {"robust": 100, "frail": 0}
    assert sensitivity(curves, 90) == {"robust": 80, "frail": 10}


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(-0.5, 1.5)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_apportioning_meets_any_total(layers, share):
    sizes = {str(index): size for index, (size, _) in enumerate(layers)}
    levels = {str(index): level for index, (_, level) in enumerate(layers)}
    total = round(share * sum(sizes.values()))
    counts = apportion(levels, sizes, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= size for name, size in sizes.items())


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 10)), min_size=1, max_size=6), st.floats(0, 1))
def test_density_and_sparsity_are_mirror_images(layers, share):
    sizes = {str(index): size for index, (size, _) in enumerate(layers)}
    ratios = {str(index): ratio for index, (_, ratio) in enumerate(layers)}
    total = round(share * sum(sizes.values()))
    removed, kept = by_sparsity(ratios, sizes, total), by_density(ratios, sizes, sum(sizes.values()) - total)
    assert sum(removed.values()) == total
    assert all(removed[name] + kept[name] == size for name, size in sizes.items())


def test_more_than_there_is_cannot_be_removed():
    with pytest.raises(CompressionError, match="4 weights to remove of 3; expected no more than there are"):
        apportion({"a": 1.0}, {"a": 3}, 4)
