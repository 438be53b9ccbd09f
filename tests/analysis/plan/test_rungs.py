"""Rungs under a budget: against all configurations there are."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.residual import Residual
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.knapsack import CELLS, least_cost
from shrinkscope.analysis.plan.pricing import Separable
from shrinkscope.analysis.plan.rungs import Level, neighbours, search_rungs, uniform_rungs
from shrinkscope.compression.rung_path import bits_path
from shrinkscope.errors import CompressionError
from shrinkscope.performance import Reading
from shrinkscope.weights import compressible


def price_of(rungs, prices):
    """What rungs cost together."""
    return sum(prices[name][rung] for name, rung in rungs.items())


def every(prices):
    """All configurations."""
    names = list(prices)
    for rungs in itertools.product(*(range(len(prices[name])) for name in names)):
        yield dict(zip(names, rungs, strict=True))


@given(st.data(), st.floats(0, 1), st.sampled_from([1, 1000 * CELLS]))
def test_the_least_cost_is_that_of_all_configurations(data, share, scale):
    names = [f"layer{number}" for number in range(data.draw(st.integers(1, 4)))]
    rungs = {name: data.draw(st.integers(1, 4)) for name in names}
    prices = {name: [scale * data.draw(st.integers(0, 30)) for _ in range(rungs[name])] for name in names}
    costs = {name: [data.draw(st.integers(0, 9)) / 2 for _ in range(rungs[name])] for name in names}
    least, most = (sum(pick(of_layer) for of_layer in prices.values()) for pick in (min, max))
    total = least + round(share * (most - least))
    # Prices beyond CELLS units are rounded up, by less than a cell a layer: 4 layers may miss so much of the budget.
    spared = 4 * (total // CELLS + 1) if total > CELLS else 0
    sums = {
        budget: min(
            (
                sum(costs[n][r] for n, r in rungs.items())
                for rungs in every(prices)
                if price_of(rungs, prices) <= budget
            ),
            default=float("inf"),
        )
        for budget in (total, total - spared)
    }
    try:
        found = least_cost(costs, prices, total)
    except CompressionError:
        assert sums[total - spared] == float("inf")
        return
    assert price_of(found, prices) <= total
    cost = sum(costs[name][rung] for name, rung in found.items())
    assert sums[total] <= cost <= sums[total - spared]


def test_what_cannot_be_paid_is_refused():
    with pytest.raises(CompressionError, match="the smallest choices of all layers take 7, more than the 6 asked for"):
        least_cost({"a": [0.0, 1.0], "b": [0.0]}, {"a": [9, 3], "b": [4]}, 6)


def test_uniform_is_the_mildest_level_of_each_method_for_all_that_fits():
    pricing = Separable({"a": (8, 4, 2, 5), "b": (80, 40, 20, 50), "c": (4, 3, 1)})
    found = [Level("dense", "dense"), Level("bits", "4"), Level("bits", "2"), Level("rank", "9")]
    levels = {"a": found, "b": found, "c": found[:3]}
    assert uniform_rungs(levels, pricing, 92) == {"dense": {"a": 0, "b": 0, "c": 0}}
    # The third layer has no such rank and stays dense.
    assert uniform_rungs(levels, pricing, 59) == {"bits": {"a": 1, "b": 1, "c": 1}, "rank": {"a": 3, "b": 3, "c": 0}}
    assert uniform_rungs(levels, pricing, 58) == {"bits": {"a": 1, "b": 1, "c": 1}}
    assert uniform_rungs(levels, pricing, 23) == {"bits": {"a": 2, "b": 2, "c": 2}}
    assert uniform_rungs(levels, pricing, 22) == {}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9))
def test_the_front_is_what_no_other_rung_betters(rungs):
    prices, costs = [price for price, _ in rungs], [float(cost) for _, cost in rungs]
    front = neighbours(costs, prices)
    assert [prices[rung] for rung in front] == sorted((prices[rung] for rung in front), reverse=True)
    for rung, (price, cost) in enumerate(rungs):
        bettered = any(p <= price and c <= cost and (p, c) != (price, cost) for p, c in rungs)
        twin = any(rungs[other] == (price, cost) for other in range(rung))
        assert (rung in front) == (not bettered and not twin)


def test_cheapest_rungs_are_found_where_rounded_prices_leave_no_room():
    prices = {"a": (9 * CELLS, 3 * CELLS + 1), "b": (4 * CELLS + 1,)}
    assert least_cost({"a": (0.0, 1.0), "b": (0.0,)}, prices, 7 * CELLS + 2) == {"a": 1, "b": 0}


@pytest.fixture(scope="module")
def halves():
    network = Residual().to(torch.float64).eval()
    inputs = torch.randn(32, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = compressible(network)
    paths = {name: bits_path(name, weight.detach(), (3, 2)) for name, weight in weights.items()}
    return [
        JointDamage(network, list(weights), half.split(4), Reading(), paths=paths)
        for half in (inputs[::2], inputs[1::2])
    ]


def test_the_search_reaches_what_no_neighbour_betters_and_stays_within_the_budget(halves):
    search, judge = halves
    names = list(search.sizes)
    prices = {name: (32, 3 + index, 2) for index, name in enumerate(names)}
    total = price_of(dict.fromkeys(names, 2), prices) + 40
    dense = dict.fromkeys(names, 0)
    costs = {n: tuple(float(search.distances(dense | {n: r}).kl.mean()) for r in range(3)) for n in names}
    start = dict.fromkeys(names, 2)
    found = search_rungs(search, judge, {"harsh": start}, costs, Separable(prices), total, 1e6)
    assert found.start == "harsh"
    assert price_of(found.positions, prices) <= total
    assert found.held_out <= found.start_held_out
    assert found.held_out == pytest.approx(float(judge.distances(found.positions).total_variation.mean()))
    configurations = [rungs for rungs in every(prices) if price_of(rungs, prices) <= total][
        :: max(1, 3 ** len(names) // 300)
    ]
    reached = float(judge.distances(found.positions).total_variation.mean())
    better = sum(float(judge.distances(rungs).total_variation.mean()) < reached for rungs in configurations)
    # A local search of one half, judged on the other: not the best of all, but among the best twentieth.
    assert better <= len(configurations) / 20


def test_the_search_ends_with_its_budget(halves):
    search, judge = halves
    names = list(search.sizes)
    prices = dict.fromkeys(names, (32, 3, 2))
    start = dict.fromkeys(names, 2)
    before, shares = search.spent + judge.spent, []
    costs = dict.fromkeys(names, (0.0, 1.0, 2.0))
    search_rungs(search, judge, {"harsh": start}, costs, Separable(prices), 40, 60, shares.append)
    # The last move and its judging may run over: at most five passes over 16 inputs each.
    assert search.spent + judge.spent - before <= 60 + 5 * 16
    assert shares[-1] == 1.0
