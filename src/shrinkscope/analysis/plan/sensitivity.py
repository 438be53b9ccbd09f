"""Greedy allocation by sensitivity: every layer as far as it alone costs no more than the others do."""

from collections.abc import Mapping
from itertools import accumulate, pairwise

from shrinkscope.analysis.plan.additive import CostCurve
from shrinkscope.analysis.plan.counts import Counts, apportion

_HALVINGS = 200  # of an interval of floats: down to the last bit


def sensitivity(curves: Mapping[str, CostCurve], total: int) -> Counts:
    """The counts at which the largest cost of a layer alone is least: one bound on the cost, the same for all.

    It is what is reached by taking, again and again, a few more weights from the layer that would then cost least. It
    looks at what a layer costs, where the additive allocation looks at how fast that rises.

    Args:
        curves: Layer → its curve, straight between its points and as high as the highest point before.
        total: Number of weights to remove in all.

    Returns:
        Layer → number to remove.

    Source: pruning by the sensitivity of single layers, Han et al. (2015) and Li et al. (2017), with the predictive KL
    in place of the accuracy.
    """
    sizes = {name: curve.removed[-1] for name, curve in curves.items()}
    rising = {
        name: list(zip(curve.removed, accumulate(curve.cost, max), strict=True)) for name, curve in curves.items()
    }
    low, high = -1.0, max(points[-1][1] for points in rising.values())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _removed(rising, middle) >= total else (middle, high)
    # Layers whose curve is flat at the bound go from one of these to the other all at once.
    below, above = _removed(rising, low), _removed(rising, high)
    share = (total - below) / (above - below) if above > below else 0.0
    counts = {
        name: _within(points, low) + share * (_within(points, high) - _within(points, low))
        for name, points in rising.items()
    }
    return apportion({name: count / max(sizes[name], 1) for name, count in counts.items()}, sizes, total)


def _removed(rising: Mapping[str, list[tuple[int, float]]], bound: float) -> float:
    return sum(_within(points, bound) for points in rising.values())


def _within(points: list[tuple[int, float]], bound: float) -> float:
    """How many weights go before a layer costs more than the bound."""
    if points[0][1] > bound:
        return 0.0
    for (removed, cost), (further, dearer) in pairwise(points):
        if dearer > bound:
            return removed + (further - removed) * (bound - cost) / (dearer - cost)
    return float(points[-1][0])
