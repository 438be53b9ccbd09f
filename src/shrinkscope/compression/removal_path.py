"""What the weights of one layer are for every number of them that is removed."""

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class RemovalPath:
    """One layer from dense to empty: in which order weights go, and what those that stay are on the way.

    The kept weights are known for some numbers removed, the rungs. Between two rungs they are those of both, in
    proportion, so that nothing jumps; beyond the last rung they stay as they are there.

    Args:
        weight: The dense weight.
        order: Indices of all weights in the order in which they go.
        rungs: Number removed → the kept weights then, flat; besides 0, where the weight is as it is.
        solve: The best kept weights for a flat bool tensor of what is kept, for ``settle``; None where they never move.
    """

    def __init__(
        self,
        weight: Tensor,
        order: Tensor,
        rungs: dict[int, Tensor] | None = None,
        solve: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.shape, self.order, self._solve = weight.shape, order, solve
        self._weights = {0: weight.detach().reshape(-1)} | (rungs or {})
        self._rungs = sorted(self._weights)

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.order.numel()

    @property
    def rungs(self) -> Sequence[int]:
        """Numbers removed at which the kept weights are the best ones."""
        return tuple(self._rungs)

    def kept(self, removed: int) -> Tensor:
        """Which weights stay, bool, of the layer's shape.

        Args:
            removed: How many go.
        """
        flags = torch.ones(self.size, dtype=torch.bool, device=self.order.device)
        flags[self.order[:removed]] = False
        return flags.view(self.shape)

    def weight(self, removed: int) -> Tensor:
        """The weights with so many removed, of the layer's shape.

        Args:
            removed: How many go.
        """
        below, above, share = self._between(removed)
        found = self._weights[below]
        if share:
            found = torch.lerp(found, self._weights[above], share)
        return torch.where(self.kept(removed), found.view(self.shape), torch.zeros_like(found).view(self.shape))

    def write(self, parameters: Sequence[Tensor], removed: int) -> None:
        """Make the layer's parameter what it is with so many removed.

        Args:
            parameters: That one alone.
            removed: How many go.
        """
        parameters[0].copy_(self.weight(removed))

    def change(self, gradient: Tensor) -> Tensor:
        """What a function of the weights changes by on the way, to first order.

        Args:
            gradient: Of the function in the weights, of the layer's shape.

        Returns:
            Float64 of length size + 1, on the CPU: Σ g·(w(n) − w(0)) for n weights removed.
        """
        slope = gradient.flatten()
        left = start = self._left(slope, 0)
        found = torch.empty(self.size + 1, dtype=torch.float64)
        for rung, after in zip(self._rungs, [*self._rungs[1:], None], strict=True):
            if after is None:
                found[rung:] = left[rung:]
                break
            share = torch.arange(after - rung, dtype=torch.float64) / (after - rung)
            following = self._left(slope, after)
            found[rung:after] = torch.lerp(left[rung:after], following[rung:after], share)
            left = following
        return found - start[0]

    def _left(self, slope: Tensor, rung: int) -> Tensor:
        """Σ g·w of a rung's weights without the first n of the order, for all n."""
        terms = (slope * self._weights[rung]).double()
        return torch.cat([terms.sum().view(1), terms.sum() - terms[self.order].cumsum(0)]).cpu()

    def settle(self, removed: int) -> None:
        """Make a number removed a rung: the best kept weights there instead of those between its neighbours.

        Args:
            removed: How many go.
        """
        if self._solve is None or removed in self._weights:
            return
        self._weights[removed] = self._solve(self.kept(removed).flatten())
        insort(self._rungs, removed)

    def _between(self, removed: int) -> tuple[int, int, float]:
        at = bisect_right(self._rungs, removed)
        below = self._rungs[at - 1]
        if at == len(self._rungs) or below == removed:
            return below, below, 0.0
        above = self._rungs[at]
        return below, above, (removed - below) / (above - below)


def magnitude_path(weight: Tensor) -> RemovalPath:
    """The lowest magnitudes first, equal ones in the order of their indices; the others stay as they are.

    Args:
        weight: The dense weight.
    """
    # Stable, as in MagnitudePruning.
    return RemovalPath(weight, weight.detach().flatten().abs().argsort(stable=True))
