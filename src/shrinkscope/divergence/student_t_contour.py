r"""The integral of `student_t_affinity` for orders above 1: along a path through the complex plane.

With w = t + log(α/(α − 1)) the weight e^(aΛ) is singular at w = 0, and f = (1 + qv)^(−b), v = −1/(4 sinh²(w/2)), at
w = ±η, where q = 4 sinh²(η/2). To the right of η the integrand is e^(a(α − 1)w) times a power series in e^(−w) with
positive coefficients. So its logarithm is convex there, with one minimum, and across the real axis its modulus falls on
both sides. The path crosses at that minimum and bends to the left, around the singularities and towards −∞.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expm1, log1p

from shrinkscope.divergence.trapezoid import EPSILON, grid, ratio, trapezoid

_NEGLIGIBLE = 60.0
"""Natural logarithm of the factor by which an integrand has fallen where it is cut off: e^−60 = 9e-27."""
_STEP = 1 / 16
_TURNS = 16.0
"""Least bend of the path, in units of the distance in which the weight falls by e.

Where f falls slowly, the weight has to end the integral: a narrower path would be long, a wider one would make it turn
often.
"""
_HALVINGS = 8
_ENOUGH = 1e-13
_STRAIGHT = 40.0
"""Where the path has become a straight line within e^−40; beyond, sinh x would overflow sooner than the path ends."""

Array = np.ndarray
Exponent = Callable[[Array], Array]


def log_affinity_above(delta: float, a: float, df: float, order: float) -> tuple[float, float]:
    """Logarithm of ∫ p^order q^(1−order) for an order above 1, and its error.

    Args:
        delta: Distance, positive.
        a: Half the sum of degrees of freedom and dimension.
        df: Degrees of freedom.
        order: α > 1, with a(α − 1) not small against 1 (otherwise the contributions of the two sides cancel).

    Returns:
        The logarithm and an estimate of its absolute error.
    """
    eta = 2 * math.asinh(delta / (2 * math.sqrt(df)))
    pole = math.log1p(1 / (order - 1))  # the value of w at t = 0
    u = _saddle(a, df / 2, eta, order)  # the crossing, as its distance from the singularity at η
    shift = u + (eta - pole)  # and as a value of t
    bend = _bend(a, order, u, eta, pole)

    def weight(t: Array) -> Array:
        return a * ((order - 1) * t - _log_base(t, order, pole))

    def exponents(s: Array) -> Array:
        return a * (order - 1) * np.abs(shift + s)

    def log_f(s: Array) -> Array:
        return -df / 2 * _log_complement(u + s, delta * delta / df, eta)

    crossing, path = np.zeros(1, complex), _Path(bend, u)
    if float(np.real(weight(shift + crossing) + log_f(crossing))[0]) < 0.5:
        excess, error = _excess(lambda s: weight(shift + s), log_f, path, exponents)
        return math.log1p(excess), error
    upper, upper_error = _log_integral(lambda s: weight(shift + s) + log_f(s), path)
    lower, lower_error = _log_integral(weight, _Path(_widest_bend(pole), pole))
    return upper - lower, upper_error + lower_error + EPSILON * float(exponents(np.zeros(1))[0])


def _log_base(t: Array, order: float, pole: float) -> Array:
    """log(1 + α(eᵗ − 1)) − t, as log(1 + (α − 1)(1 − e^(−t))) at small t and as log(α(1 − e^(−w))) elsewhere."""
    change = (1 - order) * expm1(-t)
    return np.where(np.abs(change) < 0.5, log1p(change), math.log(order) + np.log(-expm1(-t - pole)))


@dataclass(frozen=True)
class _Path:
    """The upper half of the curve s(x) = −2μ log(1 − iκ sinh x); the lower half is its mirror image.

    It goes upwards from s(0) = 0 with the radius of curvature 2μ, and then to −∞ at the height πμ. κ is such that a
    singularity at −distance is π/2 away from the axis of the nodes.

    Attributes:
        bend: μ, at most 1.
        distance: Of the singularity.
    """

    bend: float
    distance: float

    @property
    def reach(self) -> float:
        """κ."""
        return min(0.6, math.expm1(min(self.distance / (2 * self.bend), 1.0)))

    def points(self, x: Array) -> Array:
        """s(x), without overflow of sinh x where the path has become a straight line."""
        near = np.minimum(x, _STRAIGHT)
        return -2 * self.bend * (log1p(-1j * self.reach * np.sinh(near)) + (x - near))

    def slopes(self, x: Array) -> Array:
        """The derivative of s."""
        near = np.minimum(x, _STRAIGHT)
        return 2j * self.bend * self.reach * np.cosh(near) / (1 - 1j * self.reach * np.sinh(near))

    def rules(self, exponent: Exponent) -> Iterator[tuple[Array, Array, float]]:
        """Points s, derivatives and the step: up to where e^exponent is negligible, first coarse, then finer."""
        end = self._end(exponent)
        step = min(_STEP, end / 128)
        for halvings in range(_HALVINGS):
            x = grid(0.0, end, step / 2**halvings)
            yield self.points(x), self.slopes(x), step / 2**halvings

    def _end(self, exponent: Exponent) -> float:
        """The first x, within a few per cent, where e^exponent is negligible: beyond, it may rise again."""
        highest = float(exponent(self.points(np.zeros(1)))[0].real)
        x = 0.001 * 1.05 ** np.arange(256)  # to 253; the path may go on for longer where df is small
        while True:
            below = np.real(exponent(self.points(x))) < highest - _NEGLIGIBLE
            if below.any():
                return float(x[below.argmax()])
            x = x[-1] + _STRAIGHT / 4 * np.arange(1, 257)


def _log_integral(exponent: Exponent, path: _Path) -> tuple[float, float]:
    """Logarithm of ∫ e^exponent ds along the path, over 2i, and its error."""
    highest, integral, error = 0.0, math.nan, math.inf
    for s, slope, step in path.rules(exponent):
        values = exponent(s)
        highest = float(values[0].real)
        terms = np.imag(np.exp(values - highest) * slope)
        terms[0] /= 2
        integral, error = trapezoid(terms, step, np.abs(values - values[0]))
        if error < _ENOUGH * integral:
            break
    return highest + math.log(integral), error / integral


def _excess(weight: Exponent, log_f: Exponent, path: _Path, exponents: Exponent) -> tuple[float, float]:
    """∫ e^weight (f − 1) ds / ∫ e^weight ds along one path, and its error."""
    quotient, error = math.nan, math.inf
    for s, slope, step in path.rules(weight):
        values = weight(s)
        weights = np.exp(values - values[0].real) * slope
        weights[0] /= 2
        quotient, error = ratio(weights * expm1(log_f(s)), weights, step, exponents(s))
        if error < _ENOUGH * abs(quotient):
            break
    return quotient, error


def _log_complement(u: Array, q: float, eta: float) -> Array:
    """log(1 + qv) at w = u + η: where qv is small from itself, elsewhere from the zeros and poles."""
    w = u + eta
    qv = -q / (2 * np.sinh(w / 2)) ** 2
    factors = np.log(-expm1(-u)) + np.log(-expm1(-u - 2 * eta)) - 2 * np.log(-expm1(-w))
    return np.where(np.abs(qv) < 0.5, log1p(qv), factors)


def _saddle(a: float, b: float, eta: float, order: float) -> float:
    """The distance u > 0 beyond η at which weight times f is smallest on the real axis."""

    def slope(u: float) -> float:
        w = u + eta
        return (order - 1) * a - a * _pull(w) - b * (_pull(u) + _pull(w + eta) - 2 * _pull(w))

    low, high = -100.0, 40.0  # of log u; u is about b/a times a factor near 1 when it is small
    while high - low > 1e-13 * abs(low):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(low)


def _bend(a: float, order: float, u: float, eta: float, pole: float) -> float:
    """μ of the path for weight times f.

    Just beyond η, and on a slope of the weight that is steep and long enough to end the integral before the point
    w = log(α/(α − 1)), where the weight begins to rise again, the path may and should be narrow. Otherwise it has to
    pass around w = 0.
    """
    w, rate = u + eta, a * (order - 1)
    slope = rate - a * _pull(w)
    drop = rate * (w - pole) - a * math.log(math.expm1(-w) / math.expm1(-pole))
    if w <= pole or drop < 2 * _NEGLIGIBLE:
        return _widest_bend(w)
    return min(_widest_bend(w), max(u, _TURNS / slope))


def _widest_bend(w: float) -> float:
    """The μ of the path of steepest descent for the weight alone, at its saddle point w; at most 1."""
    return min(1.0, 1.5 * math.tanh(w / 2))


def _pull(w: float) -> float:
    """Derivative of −log(1 − e^(−w)), with the sign changed."""
    return 1 / math.expm1(w) if w < 700 else 0.0
