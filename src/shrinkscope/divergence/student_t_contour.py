r"""The integral of `student_t_affinity` for orders above 1: along a path through the complex plane.

With w = t + log(α/(α − 1)) the weight e^(aΛ) is singular at w = 0, and f = (1 + qv)^(−b), v = −1/(4 sinh²(w/2)), at
w = ±η, where q = 4 sinh²(η/2). To the right of η the integrand is e^(a(α − 1)w) times a power series in e^(−w) with
positive coefficients. So its logarithm is convex there, with one minimum, and across the real axis its modulus falls on
both sides. The path crosses at that minimum and bends to the left, around the singularities and towards −∞.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import expm1, log1p

from shrinkscope.divergence.trapezoid import EPSILON, falling_point, grid, ratio, trapezoid

_NEGLIGIBLE = 60.0
"""Natural logarithm of the factor by which an integrand has fallen where it is cut off: e^−60 = 9e-27."""
_STEP = 1 / 16
_REACH = 0.6
"""κ of the path: with it, a singularity at the distance μ or more is π/2 away from the axis of the nodes."""

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
    pole = -math.log1p(-1 / order)  # the value of w at t = 0
    u = _saddle(a, df / 2, eta, order)  # the crossing, as its distance from the singularity at η
    shift = u + (eta - pole)  # and as a value of t

    def weight(t: Array) -> Array:
        return a * (order * t - log1p(order * expm1(t)))

    def log_f(s: Array) -> Array:
        return -df / 2 * _log_complement(u + s, delta * delta / df, eta)

    crossing = np.zeros(1, complex)
    if float((weight(shift + crossing) + log_f(crossing))[0].real) < 0.5:
        excess, error = _excess(lambda s: weight(shift + s), log_f, u, a * order * abs(shift))
        return math.log1p(excess), error
    upper, upper_error = _log_integral(lambda s: weight(shift + s) + log_f(s), u)
    lower, lower_error = _log_integral(weight, pole)
    return upper - lower, upper_error + lower_error + EPSILON * a * order * abs(shift)


def _log_integral(exponent: Exponent, distance: float) -> tuple[float, float]:
    """Logarithm of ∫ e^exponent ds along the path past a singularity at −distance, over 2i, and its error."""
    s, slope, step = _nodes(exponent, distance)
    values = exponent(s)
    terms = (np.exp(values - values[0].real) * slope).imag
    terms[0] /= 2
    integral, error = trapezoid(terms, step, np.abs(values - values[0]))
    return float(values[0].real) + math.log(integral), error / integral


def _excess(weight: Exponent, log_f: Exponent, distance: float, exponent: float) -> tuple[float, float]:
    """∫ e^weight (f − 1) ds / ∫ e^weight ds along one path, and its error."""
    s, slope, step = _nodes(weight, distance)
    values = weight(s)
    weights = np.exp(values - values[0].real) * slope
    weights[0] /= 2
    terms = weights * expm1(log_f(s))
    return ratio(terms, weights, step, exponent + np.abs(values - values[0]))


def _nodes(exponent: Exponent, distance: float) -> tuple[Array, Array, float]:
    """Nodes on the upper half of the path, its derivative there, and the step; the lower half is the mirror image.

    The path is s(x) = −2μ log(1 − iκ sinh x): upwards from s(0) = 0 with the radius of curvature 2μ, where μ is the
    distance to the singularity and at most 1, and then to −∞ at the height πμ.
    """
    bend = min(1.0, distance)

    def path(x: Array) -> Array:
        near = np.minimum(x, _STRAIGHT)
        return -2 * bend * (log1p(-1j * _REACH * np.sinh(near)) + (x - near))

    def height(x: float) -> float:
        return float(exponent(path(np.array([x])))[0].real)

    end = falling_point(height, 0.0, 0.01, height(0.0) - _NEGLIGIBLE)
    step = min(_STEP, end / 128)
    x = grid(0.0, end, step)
    near = np.minimum(x, _STRAIGHT)
    slope = 2j * bend * _REACH * np.cosh(near) / (1 - 1j * _REACH * np.sinh(near))
    return path(x), slope, step


def _log_complement(u: Array, q: float, eta: float) -> Array:
    """log(1 + qv) at w = u + η: where qv is small from itself, elsewhere from the zeros and poles."""
    w = u + eta
    qv = -q / (2 * np.sinh(w / 2)) ** 2
    factors = np.log(-expm1(-u)) + np.log(-expm1(-u - 2 * eta)) - 2 * np.log(-expm1(-w))
    return np.where(np.abs(qv) < 0.5, log1p(qv), factors)


def _saddle(a: float, b: float, eta: float, order: float) -> float:
    """The distance u > 0 beyond η at which weight times f is smallest on the real axis."""

    def pull(w: float) -> float:
        return 1 / math.expm1(w) if w < 700 else 0.0

    def slope(u: float) -> float:
        w = u + eta
        return (order - 1) * a - a * pull(w) - b * (pull(u) + pull(w + eta) - 2 * pull(w))

    low, high = -100.0, 40.0  # of log u; u is about b/a times a factor near 1 when it is small
    while high - low > 1e-13 * abs(low):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(low)
