"""A rung for every layer under a budget, where a layer has a few: exactly by summed costs, or by the joint damage."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.pricing import Pricing

_STEPS = 2  # rungs that a layer is made harsher by, at most, for another to be made milder
_LONG, _FAR = 8, 6  # rungs of a long ladder, and as many that are looked at there
_WORSE = 1.0  # standard errors by which the first batches may be worse before the others are spared


class Level(NamedTuple):
    """What layers on the same rung share: the name of a method and a level of it."""

    method: str
    level: str


class RungSearch(NamedTuple):
    """What a search over rungs found.

    ``positions`` is layer → rung, ``start`` the allocation that it began from, ``held_out`` the mean total variation on
    the inputs that were not searched on, ``start_held_out`` that of the start.
    """

    positions: Counts
    start: str
    held_out: float
    start_held_out: float


def uniform_rungs(levels: Mapping[str, Sequence[Level]], pricing: Pricing, total: int) -> dict[str, Counts]:
    """The mildest level that all layers can have within a budget, method by method.

    Args:
        levels: Layer → method and level of each rung, the dense one first.
        pricing: What rungs cost.
        total: Most that all may cost together.

    Returns:
        Method → rungs, without the methods of which no level is within the budget, and of no other where all can stay
        dense. A layer that has no such level stays dense.
    """
    found: dict[str, tuple[int, Counts]] = {}
    for level in dict.fromkeys(level for of_layer in levels.values() for level in of_layer):
        rungs = {name: of_layer.index(level) if level in of_layer else 0 for name, of_layer in levels.items()}
        price = pricing.of(rungs)
        if price <= total and (level.method not in found or found[level.method][0] < price):
            found[level.method] = price, rungs
    return {method: rungs for method, (_, rungs) in found.items() if method == "dense" or "dense" not in found}


def neighbours(costs: Sequence[float], prices: Sequence[int]) -> tuple[int, ...]:
    """The rungs of a layer on the front of price against cost, the mildest first.

    Args:
        costs: Of each rung alone; infinite where it is not to be chosen.
        prices: Of each rung.
    """
    front: list[int] = []
    for rung in sorted(range(len(prices)), key=lambda rung: (prices[rung], costs[rung], rung)):
        if math.isfinite(costs[rung]) and (not front or costs[rung] < costs[front[-1]]):
            front.append(rung)
    return tuple(reversed(front))


def search_rungs(
    damage: JointDamage,
    guard: JointDamage,
    starts: Mapping[str, Counts],
    costs: Mapping[str, Sequence[float]],
    pricing: Pricing,
    total: int,
    budget: float,
    progress: Callable[[float], None] | None = None,
    fronts: Mapping[str, Sequence[int]] | None = None,
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
        pricing: What rungs cost.
        total: Most that all may cost together.
        budget: Most passes of the network over one input, those of the guard included.
        progress: Called with the share of the budget that is spent.
        fronts: Layer → the rungs that moves lead to, the mildest first; all of them in their order when None. In a
            long one, moves are of one and of three rungs.

    Source: derived here; tests/analysis/plan/test_rungs.py compares it with all configurations of a small network.
    """
    found = {name: float(damage.distances(positions).total_variation.mean()) for name, positions in starts.items()}
    start = min(found, key=lambda name: found[name])
    search = _Search(damage, guard, starts[start], pricing, total, budget, progress)
    steps = _Steps(pricing, fronts)
    first = float(guard.distances(starts[start]).total_variation.mean())
    best = (first, starts[start])
    while search.round(costs, steps):
        held_out = float(guard.distances(search.now).total_variation.mean())
        best = min(best, (held_out, search.now), key=lambda pair: pair[0])
    return RungSearch(best[1], start, best[0], first)


class _Search:
    def __init__(
        self,
        damage: JointDamage,
        guard: JointDamage,
        now: Counts,
        pricing: Pricing,
        total: int,
        budget: float,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.now = now
        self._damage, self._guard, self._pricing, self._total = damage, guard, pricing, total
        self._end, self._budget, self._progress = damage.spent + guard.spent + budget, budget, progress
        self._distances = damage.distances(now).total_variation

    def round(self, costs: Mapping[str, Sequence[float]], steps: "_Steps") -> bool:
        """Try all moves once, but for those of layers that have moved; whether one helped."""
        self._distances = self._damage.distances(self.now, rebase=True).total_variation
        moved: set[str] = set()
        for change in _moves(self.now, costs, self._pricing, self._total, steps):
            if self._exhausted():
                break
            if not moved & change.keys() and self._try(self.now | change):
                moved |= change.keys()
        return bool(moved)

    def _try(self, positions: Counts) -> bool:
        if self._pricing.of(positions) > self._total:
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


class _Steps:
    """Which rungs a layer can move to, from any of its rungs."""

    def __init__(self, pricing: Pricing, fronts: Mapping[str, Sequence[int]] | None) -> None:
        orders = fronts or {name: range(len(of_layer)) for name, of_layer in pricing.table.items()}
        self._milder, self._harsher = {}, {}
        for name, of_layer in pricing.table.items():
            order = list(orders[name])
            strides, reach = ((1, 3), _FAR) if len(order) > _LONG else ((1,), _STEPS)
            for rung in range(len(of_layer)):
                # A rung that is not on the front, where a search may begin, stands by its price.
                at = order.index(rung) if rung in order else sum(of_layer[other] > of_layer[rung] for other in order)
                above, below = order[:at][::-1], [other for other in order[at:] if other != rung]
                self._milder[name, rung] = [above[stride - 1] for stride in strides if stride <= len(above)]
                self._harsher[name, rung] = below[:reach]

    def milder(self, name: str, rung: int) -> list[int]:
        """The next milder rungs."""
        return self._milder[name, rung]

    def harsher(self, name: str, rung: int) -> list[int]:
        """The next harsher rungs, of which the first that pays is taken."""
        return self._harsher[name, rung]


def _moves(
    now: Counts, costs: Mapping[str, Sequence[float]], pricing: Pricing, total: int, steps: _Steps
) -> list[Counts]:
    """What changes to a neighbour within the budget, the largest promised gain first."""
    left, found = total - pricing.of(now), []
    for milder, position in now.items():
        for up in steps.milder(milder, position):
            gain = costs[milder][up] - costs[milder][position]
            if pricing.change(now, {milder: up}) <= left:
                found.append((gain, {milder: up}))
            for harsher in (name for name in now if name != milder):
                changes = ({milder: up, harsher: down} for down in steps.harsher(harsher, now[harsher]))
                change = next((change for change in changes if pricing.change(now, change) <= left), None)
                if change is not None:
                    loss = costs[harsher][change[harsher]] - costs[harsher][now[harsher]]
                    found.append((gain + loss, change))
    return [change for _, change in sorted(found, key=lambda move: move[0])]
