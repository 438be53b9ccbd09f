"""Chooses a rung for every layer: additively, uniformly, or by search, for a budget or within a drop."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import msgspec

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.parts import PlanSettings
from shrinkscope.analysis.plan.pricing import Pricing
from shrinkscope.analysis.plan.rungs import Level, neighbours, search_rungs, uniform_rungs
from shrinkscope.analysis.plan.target import predicted_drop
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.errors import CompressionError

_HALVINGS = 8  # of the interval of prices
_SEARCHES, _SMALLER = 3, 0.95  # searches under a drop, each of a share of the price of the last
_CURVE_BATCHES = 0.25  # of the inputs that are searched on: costs of many rungs
_SINGLES = 0.25  # of the search of a mixture, for its methods alone
_WITH_CURVES, _LEAST = 1.75, 0.5  # budgets for curves and searches together; of one, for the searches at least


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Rungs, and where they are from.

    Attributes:
        positions: Layer → rung.
        start: Allocation that a search began from; None without a search.
        singles: Method → its own rungs at the same price, where there are several.
    """

    positions: Counts
    start: str | None = None
    singles: dict[str, Counts] = {}


class RungChooser:
    """Chooses rungs for one network and one set of inputs.

    Args:
        search: Damage on the inputs that are searched on, its positions being rungs.
        judge: Damage on the others.
        levels: Layer → method and level of each rung, the dense one first.
        hopeful: Layer → the rungs that are worth a pass.
        pricing: What rungs cost.
        methods: Names of the methods that are mixed.
        settings: The allocation that was asked for, the tolerance and the budget of the search.
        progress: Called with the share that is done.
        simple: The allocations beside ``additive`` within a price, by name; when None the mildest level that all layers
            can share.
    """

    def __init__(
        self,
        search: JointDamage,
        judge: JointDamage,
        levels: Mapping[str, Sequence[Level]],
        hopeful: Mapping[str, Sequence[int]],
        pricing: Pricing,
        methods: Sequence[str],
        settings: PlanSettings,
        progress: Callable[[float], None] | None = None,
        simple: Callable[[int], dict[str, Counts]] | None = None,
    ) -> None:
        self.search, self.judge, self.levels, self.pricing = search, judge, levels, pricing
        self.methods, self.settings = methods, settings
        self._hopeful, self._progress, self._simple = hopeful, progress, simple

    @cached_property
    def costs(self) -> dict[str, tuple[float, ...]]:
        """Layer → KL in nats on each rung, alone; infinite on those that are not worth a pass."""
        # With several methods, or numbers of channels, there are many rungs, and a curve is read off all of them.
        many = self._mixed or self._simple is not None
        first = max(1, round(self.search.batches * _CURVE_BATCHES)) if many else None
        dense = dict.fromkeys(self.levels, 0)
        self.search.distances(dense, rebase=True)

        def cost(name: str, rung: int) -> float:
            if rung not in self._hopeful[name]:
                return math.inf
            return float(self.search.distances(dense | {name: rung}, first=first).kl.mean())

        return {name: tuple(cost(name, rung) for rung in range(len(found))) for name, found in self.levels.items()}

    def starts(self, total: int, methods: Sequence[str] | None = None) -> dict[str, Counts]:
        """Name → rungs within so much, of all methods or of some.

        Args:
            total: Most that all may cost together.
            methods: Names of methods; all when None.

        Raises:
            CompressionError: If nothing is within it.
        """
        costs = self._costs_of(methods)
        levels = {
            name: [level if self._offers(methods, level) else found[0] for level in found]
            for name, found in self.levels.items()
        }
        starts = {"additive": self.pricing.cheapest(costs, total)}
        if self._simple is not None:
            return starts | self._simple(total)
        even = uniform_rungs(levels, self.pricing, total)
        if even:
            best = even.popitem()[1] if len(even) == 1 else min(even.values(), key=self._moved)
            starts["uniform"] = best
        return starts

    def plain(self, total: int) -> Counts:
        """What the allocation that was asked for chooses, or what a search for it begins from.

        Args:
            total: Most that all may cost together.
        """
        starts, asked = self.starts(total), self.settings.allocation
        if asked == "joint":
            return min(starts.values(), key=self._moved)
        if asked not in starts:
            raise CompressionError(f"no level that all layers share costs no more than {total:,}; plan it additively")
        return starts[asked]

    def choose(self, total: int, share: float = 1.0) -> Chosen:
        """Rungs within so much.

        Args:
            total: Most that all may cost together.
            share: Of the budget, for the search.

        Raises:
            CompressionError: If nothing is within it.
        """
        singles = {method: found for method in self._singles if (found := self._single(method, total, share))}
        if self.settings.allocation != "joint":
            return Chosen(positions=self.plain(total), singles=singles)
        share = share * (1 - _SINGLES) if singles else share
        positions, start = self._searched(self.starts(total) | singles, self.costs, total, share)
        return Chosen(positions=positions, start=start, singles=singles)

    def under_drop(self, calibration: Calibration | None) -> Chosen:
        """The cheapest rungs that the bisection, and searches below it, find within the drop.

        Args:
            calibration: Predicts the drop from the joint KL.
        """
        max_drop, pricing = self.settings.max_drop, self.pricing

        def within(positions: Counts) -> bool:
            drop = predicted_drop(self.judge, positions, calibration)
            return drop is not None and max_drop is not None and drop <= max_drop

        least = pricing.least
        low, high = least, max(pricing.of(dict.fromkeys(self.levels, 0)), least)
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            low, high = (low, middle) if within(self.plain(middle)) else (middle, high)
        best = Chosen(positions=self.plain(high))
        for attempt in range(_SEARCHES if self.settings.allocation == "joint" else 0):
            found = self.choose(max(least, round(high * _SMALLER**attempt)), 1 / _SEARCHES)
            if not within(found.positions):
                break
            best = found
        return best

    def additive(self, total: int) -> Counts:
        """The rungs of least summed cost within so much.

        Args:
            total: Most that all may cost together.
        """
        return self.pricing.cheapest(self.costs, total)

    def beside(self, name: str, rung: int) -> list[int]:
        """The next milder and the next harsher rung of a layer on the front of price against cost.

        Args:
            name: The layer.
            rung: Where it is.
        """
        prices = self.pricing.table[name]
        front = [other for other in neighbours(self.costs[name], prices) if other != rung]
        milder = [other for other in front if prices[other] > prices[rung]][-1:]
        return milder + [other for other in front if prices[other] <= prices[rung]][:1]

    @property
    def _mixed(self) -> bool:
        return len(self.methods) > 1

    @cached_property
    def _budget(self) -> float:
        """Passes for all searches: fewer where the curves of many rungs took more than a search may."""
        assert self.costs  # are spent before
        budget = self.settings.budget
        return min(budget, max(_LEAST * budget, _WITH_CURVES * budget - self.search.spent - self.judge.spent))

    @property
    def _singles(self) -> Sequence[str]:
        return self.methods if self._mixed else ()

    def _single(self, method: str, total: int, share: float) -> Counts | None:
        """The best rungs of one method, as the allocation that was asked for chooses them; None if it has none."""
        try:
            starts = self.starts(total, [method])
        except CompressionError:
            return None
        if self.settings.allocation != "joint":
            return starts.get(self.settings.allocation)
        return self._searched(starts, self._costs_of([method]), total, share * _SINGLES / len(self.methods))[0]

    def _searched(
        self, starts: dict[str, Counts], costs: Mapping[str, Sequence[float]], total: int, share: float
    ) -> tuple[Counts, str]:
        # Bits are a chain in which each rung is next to the following; rungs of several kinds have to be put in order.
        chain = tuple(self.methods) == ("bits",)
        fronts = None if chain else {name: neighbours(costs[name], self.pricing.table[name]) for name in self.levels}
        budget = share * self._budget
        found = search_rungs(
            self.search, self.judge, starts, costs, self.pricing, total, budget, self._progress, fronts
        )
        return found.positions, found.start

    def _costs_of(self, methods: Sequence[str] | None) -> Mapping[str, Sequence[float]]:
        if methods is None:
            return self.costs

        def cost(name: str, rung: int) -> float:
            return self.costs[name][rung] if self._offers(methods, self.levels[name][rung]) else math.inf

        return {name: tuple(cost(name, rung) for rung in range(len(found))) for name, found in self.levels.items()}

    @staticmethod
    def _offers(methods: Sequence[str] | None, level: Level) -> bool:
        return methods is None or level.method in ("dense", *methods)

    def _moved(self, positions: Counts) -> float:
        return float(self.search.distances(positions).total_variation.mean())
