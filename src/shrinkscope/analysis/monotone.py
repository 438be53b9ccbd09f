"""A monotone curve through a handful of noisy points."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Where the curve has not risen yet, its height says nothing about its error: this share of the largest rise does.
_FLOOR = 0.05


class MonotoneCurve(NamedTuple):
    """A curve that never falls: isotonic regression at the points, straight between them over log(1 + x/middle).

    Attributes:
        x: Distinct positions in rising order.
        height: Heights there.
        middle: Median position, positive: below it the axis is nearly linear, so that zero is an ordinary position, and
            far above it logarithmic, because damage spans orders of magnitude.
    """

    x: Vector
    height: Vector
    middle: float

    def at(self, x: Vector) -> Vector:
        """Heights at any positions; beyond the points, the height of the last one.

        Args:
            x: Non-negative positions.
        """
        return np.interp(np.log1p(x / self.middle), np.log1p(self.x / self.middle), self.height)

    def spread(self, x: Vector) -> Vector:
        """How large an error may be expected to be, relative to other positions; positive.

        Where damage is larger, so is what is not known about it: the rise since the first point, with a floor.

        Args:
            x: Non-negative positions.
        """
        whole = self.height[-1] - self.height[0]
        return self.at(x) - self.height[0] + (_FLOOR * whole if whole > 0 else 1.0)


def fit_monotone(x: Vector, y: Vector) -> MonotoneCurve:
    """The curve with the smallest squared error at the points among those that never fall.

    Args:
        x: Non-negative positions, at least two of them distinct.
        y: Values there; those at one position are averaged.

    Returns:
        The curve.

    Source: Barlow et al. (1972), Statistical Inference under Order Restrictions, by SciPy's pool-adjacent-violators.
    """
    positions, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=y) / counts
    from scipy.optimize import isotonic_regression  # only here, so that a comparison starts without it

    heights = isotonic_regression(means, weights=counts.astype(np.float64)).x
    middle = float(np.median(x))
    return MonotoneCurve(positions, heights, middle if middle > 0 else float(positions[1]))
