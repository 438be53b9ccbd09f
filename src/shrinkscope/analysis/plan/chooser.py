"""Counts for a number of weights to remove, by whichever allocation was asked for."""

from collections.abc import Callable

import msgspec
import torch

from shrinkscope.analysis.plan.allocations import Allocation, Allocations
from shrinkscope.analysis.plan.counts import Counts, apportion
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.joint import joint


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Counts, and where they are from.

    Attributes:
        counts: Layer → number to remove.
        start: Allocation that a search began from; None without a search.
        starts: Name → counts of the allocations of the same size.
    """

    counts: Counts
    start: str | None
    starts: dict[str, Counts]


class Chooser:
    """Chooses for one network and one set of inputs.

    Args:
        allocations: The allocations.
        search: Damage on the inputs that are searched on.
        judge: Damage on the others.
        allocation: The one that was asked for.
        budget: Most passes over one input of a search.
        seed: Of random moves.
        progress: Called with the share that is done.
    """

    def __init__(
        self,
        allocations: Allocations,
        search: JointDamage,
        judge: JointDamage,
        allocation: Allocation,
        budget: float,
        seed: int,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.allocations, self.search, self.judge, self.allocation = allocations, search, judge, allocation
        self._budget, self._seed, self._progress = budget, seed, progress
        self.sizes = search.sizes
        self.weights = sum(self.sizes.values())

    @property
    def spent(self) -> float:
        """Passes over one input so far."""
        return self.search.spent + self.judge.spent + self.allocations.spent

    def choose(self, total: int, *, near: Counts | None = None, share: float = 1.0) -> Choice:
        """Counts that remove so many weights.

        Args:
            total: Number of weights to remove in all.
            near: Another start, of any size: its levels are scaled.
            share: Of the budget, for the search.
        """
        if self.allocation != "joint":
            starts = self.others(total)
            return Choice(counts=starts[self.allocation], start=None, starts=starts)
        starts = self.others(total)
        if near is not None:
            starts["near"] = self.moved(near, total)
        generator = torch.Generator().manual_seed(self._seed)
        found = joint(self.search, self.judge, starts, share * self._budget, generator, self._progress)
        return Choice(counts=found.counts, start=found.start, starts=starts)

    def others(self, total: int) -> dict[str, Counts]:
        """Name → counts of the allocations that are not searched for.

        Args:
            total: Number of weights to remove in all.
        """
        return {str(name): counts for name, counts in self.allocations.all(total).items()}

    def moved(self, counts: Counts, total: int) -> Counts:
        """The same levels, moved up or down together.

        Args:
            counts: Layer → number to remove.
            total: Number of weights to remove in all.
        """
        now = sum(counts.values())
        if total <= now:
            return apportion({n: c / self.sizes[n] * total / max(now, 1) for n, c in counts.items()}, self.sizes, total)
        kept = (self.weights - total) / max(self.weights - now, 1)
        levels = {name: 1 - (1 - count / self.sizes[name]) * kept for name, count in counts.items()}
        return apportion(levels, self.sizes, total)
