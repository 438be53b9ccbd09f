"""Additive allocation: the levels at which the sum of what each layer costs alone is least."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from shrinkscope.analysis.plan.counts import Counts


class CostCurve(NamedTuple):
    """What removing so many weights of one layer costs when all others are dense.

    ``removed`` rises from 0 to the layer's size; ``cost`` has as many values, in any unit that all layers share.
    """

    removed: Sequence[int]
    cost: Sequence[float]


def additive(curves: Mapping[str, CostCurve], total: int) -> Counts:
    """The counts of least summed cost, of those that lie on the lower convex hull of every curve.

    Args:
        curves: Layer → its curve.
        total: Number of weights to remove in all.

    Returns:
        Layer → number to remove, by filling the pieces of the hulls in the order of their slopes, which is the
        minimum of the Lagrangian; equal slopes in the order of the layers.

    Source: Shoham & Gersho (1988) for the Lagrangian of separable costs.
    """
    pieces = [piece for name, curve in curves.items() for piece in _pieces(name, curve)]
    counts, left = dict.fromkeys(curves, 0), total
    for _, name, length in sorted(pieces, key=lambda piece: piece[0]):
        taken = min(length, left)
        counts[name] += taken
        left -= taken
    return counts


def hull(curve: CostCurve) -> list[tuple[int, float]]:
    """The corners of the lower convex hull of a curve.

    Args:
        curve: The curve.
    """
    corners: list[tuple[int, float]] = []
    for point in zip(curve.removed, curve.cost, strict=True):
        while len(corners) > 1 and _above(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    return corners


def _above(first: tuple[int, float], middle: tuple[int, float], last: tuple[int, float]) -> bool:
    run, rise = last[0] - first[0], last[1] - first[1]
    return (middle[1] - first[1]) * run >= rise * (middle[0] - first[0])


def _pieces(name: str, curve: CostCurve) -> list[tuple[float, str, int]]:
    corners = hull(curve)
    return [
        ((cost - before_cost) / (removed - before), name, removed - before)
        for (before, before_cost), (removed, cost) in pairwise(corners)
    ]
