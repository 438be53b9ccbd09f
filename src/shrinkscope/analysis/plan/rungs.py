"""A rung for every layer under a budget, where a layer has a few: exactly by summed costs, or by the joint damage."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.errors import CompressionError

CELLS = 1 << 16
"""Prices are rounded up to this share of the budget where there are more units than that."""

_STEPS = 2  # rungs that a layer is made harsher by, at most, for another to be made milder
_WORSE = 1.0  # standard errors by which the first batches may be worse before the others are spared


class RungSearch(NamedTuple):
    """What a search over rungs found.

    ``positions`` is layer → rung, ``start`` the allocation that it began from, ``held_out`` the mean total variation on
    the inputs that were not searched on, ``start_held_out`` that of the start.
    """

    positions: Counts
    start: str
    held_out: float
    start_held_out: float


def price_of(positions: Mapping[str, int], prices: Mapping[str, Sequence[int]]) -> int:
    """What rungs cost together.

    Args:
        positions: Layer → rung.
        prices: Layer → price of each rung.
    """
    return sum(prices[name][position] for name, position in positions.items())


def least_cost(costs: Mapping[str, Sequence[float]], prices: Mapping[str, Sequence[int]], total: int) -> Counts:
    """The rungs of least summed cost of all that stay within a budget.

    Args:
        costs: Layer → cost of each of its rungs, finite.
        prices: Layer → price of each of its rungs, whole numbers.
        total: Most that all may cost together, in the unit of the prices.

    Returns:
        Layer → rung, the milder one of equal sums. The least of all as long as the budget is below ``CELLS`` units;
        beyond, of all that stay within it with their prices rounded up to ``total / CELLS``.

    Raises:
        CompressionError: If the cheapest rungs are beyond the budget.

    Source: the recursion for multiple-choice knapsacks, Kellerer, Pferschy & Pisinger (2004), "Knapsack Problems",
        section 11.5.
    """
    unit = max(1, -(-total // CELLS))
    cells = total // unit
    best, taken = np.zeros(cells + 1), []
    for name, of_layer in costs.items():
        found, rungs = np.full(cells + 1, np.inf), np.zeros(cells + 1, dtype=np.int16)
        for rung, (cost, price) in enumerate(zip(of_layer, prices[name], strict=True)):
            room = -(-price // unit)
            if room > cells:
                continue
            candidate = best[: cells + 1 - room] + cost
            better = candidate < found[room:]
            found[room:][better] = candidate[better]
            rungs[room:][better] = rung
        best = found
        taken.append(rungs)
    if not np.isfinite(best[cells]):
        least = sum(min(of_layer) for of_layer in prices.values())
        raise CompressionError(f"the smallest choices of all layers take {least:,}, more than the {total:,} asked for")
    positions, left = {}, cells
    for name, rungs in zip(reversed(list(costs)), reversed(taken), strict=True):
        positions[name] = int(rungs[left])
        left -= -(-prices[name][positions[name]] // unit)
    return {name: positions[name] for name in costs}


def uniform_rungs(prices: Mapping[str, Sequence[int]], total: int) -> Counts | None:
    """The mildest rung that all layers can have within a budget; None where there is none.

    Args:
        prices: Layer → price of each rung, equally many for all.
        total: Most that all may cost together.
    """
    rungs = range(min(len(of_layer) for of_layer in prices.values()))
    fits = (dict.fromkeys(prices, rung) for rung in rungs)
    return next((positions for positions in fits if price_of(positions, prices) <= total), None)


def search_rungs(
    damage: JointDamage,
    guard: JointDamage,
    starts: Mapping[str, Counts],
    costs: Mapping[str, Sequence[float]],
    prices: Mapping[str, Sequence[int]],
    total: int,
    budget: float,
    progress: Callable[[float], None] | None = None,
) -> RungSearch:
    """Make one layer milder, and another harsher to pay for it, as long as the predictions come nearer to the dense.

    Moves are tried in the order of what the costs of the layers alone promise, on the first batches alone where those
    say enough, until none of them helps. Of the configurations at the end of each round, the nearest on inputs that
    were not searched on is taken. Nothing is random.

    Args:
        damage: On the inputs to search on, its positions being rungs.
        guard: On other inputs.
        starts: Name → positions, all within the budget; at least one.
        costs: Layer → cost of each rung alone, by which moves are ordered.
        prices: Layer → price of each rung.
        total: Most that all may cost together.
        budget: Most passes of the network over one input, those of the guard included.
        progress: Called with the share of the budget that is spent.

    Source: derived here; tests/analysis/plan/test_rungs.py compares it with all configurations of a small network.
    """
    found = {name: float(damage.distances(positions).total_variation.mean()) for name, positions in starts.items()}
    start = min(found, key=lambda name: found[name])
    search = _Search(damage, guard, starts[start], prices, total, budget, progress)
    first = float(guard.distances(starts[start]).total_variation.mean())
    best = (first, starts[start])
    while search.round(costs):
        held_out = float(guard.distances(search.now).total_variation.mean())
        best = min(best, (held_out, search.now), key=lambda pair: pair[0])
    return RungSearch(best[1], start, best[0], first)


class _Search:
    def __init__(
        self,
        damage: JointDamage,
        guard: JointDamage,
        now: Counts,
        prices: Mapping[str, Sequence[int]],
        total: int,
        budget: float,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.now = now
        self._damage, self._guard, self._prices, self._total = damage, guard, prices, total
        self._end, self._budget, self._progress = damage.spent + guard.spent + budget, budget, progress
        self._distances = damage.distances(now).total_variation

    def round(self, costs: Mapping[str, Sequence[float]]) -> bool:
        """Try all moves once, but for those of layers that have moved; whether one helped."""
        self._distances = self._damage.distances(self.now, rebase=True).total_variation
        moved: set[str] = set()
        for change in _moves(self.now, costs, self._prices, self._total):
            if self._exhausted():
                break
            if not moved & change.keys() and self._try(self.now | change):
                moved |= change.keys()
        return bool(moved)

    def _try(self, positions: Counts) -> bool:
        if price_of(positions, self._prices) > self._total:
            return False
        damage = self._damage
        if damage.batches > 1:
            excess = damage.distances(positions, first=max(1, damage.batches // 4)).total_variation
            excess = excess - self._distances[: len(excess)]
            if float(excess.mean()) > _WORSE * float(excess.std()) / math.sqrt(len(excess)):
                return False
        found = damage.distances(positions).total_variation
        if not float(found.mean()) < float(self._distances.mean()):
            return False
        self.now, self._distances = positions, found
        return True

    def _exhausted(self) -> bool:
        left = self._end - self._damage.spent - self._guard.spent
        if self._progress is not None:
            self._progress(min(1.0, 1 - left / self._budget))
        return left <= 0


def _moves(
    now: Counts, costs: Mapping[str, Sequence[float]], prices: Mapping[str, Sequence[int]], total: int
) -> list[Counts]:
    """What changes to a neighbour within the budget, the largest promised gain first."""
    left, found = total - price_of(now, prices), []
    for milder in (name for name, position in now.items() if position):
        up = now[milder] - 1
        gain = costs[milder][up] - costs[milder][now[milder]]
        extra = prices[milder][up] - prices[milder][now[milder]]
        if extra <= left:
            found.append((gain, {milder: up}))
        for harsher in (name for name in now if name != milder):
            down = _pays(now[harsher], prices[harsher], extra - left)
            if down is not None:
                loss = costs[harsher][down] - costs[harsher][now[harsher]]
                found.append((gain + loss, {milder: up, harsher: down}))
    return [change for _, change in sorted(found, key=lambda move: move[0])]


def _pays(position: int, prices: Sequence[int], needed: int) -> int | None:
    """The next rung that saves enough; None if there is none near."""
    rungs = range(position + 1, min(position + _STEPS, len(prices) - 1) + 1)
    return next((rung for rung in rungs if prices[position] - prices[rung] >= needed), None)
