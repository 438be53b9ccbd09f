r"""The integral of p^α q^(1−α) for two Student-t distributions that differ by a shift: one integral, every order.

With a = (ν + d)/2, b = ν/2 and q = δ²/ν, Feynman's formula for a product of two powers and the integral over space give

.. math:: \int p^\alpha q^{1-\alpha} = E := \frac{\int_C e^{a\Lambda(t)}\,(1 + q\,v(t))^{-b}\,dt}
          {\int_C e^{a\Lambda(t)}\,dt},

.. math:: \Lambda(t) = \alpha t - \log(1 + \alpha(e^t - 1)), \qquad
          v(t) = \frac{\alpha(1-\alpha)\,e^t}{(1 + \alpha(e^t - 1))^2}.

For 0 < α < 1 the contour C is the real line: an average over a Beta(aα, a(1 − α)) law of y, written in its logit, where
v = y(1 − y). For α > 1 it is the continuation in α: C comes from −∞ below the real axis, crosses it to the right of all
singularities and goes back to −∞ above it (``student_t_contour``). All are summed by the trapezoidal rule, which
converges exponentially. Small distances are summed as 1 − E with α(1 − α)·a/(a + 1) drawn out, so that they lose no
digits, and α → 0 and α → 1 need no care.
"""

import math

import numpy as np

from shrinkscope.divergence.beta_logit import BetaLogit
from shrinkscope.divergence.trapezoid import falling_point, grid, ratio
from shrinkscope.errors import DivergenceError

TOLERANCE = 1e-10
"""Relative error above which no value is returned."""

LARGEST_DIM, LARGEST_DELTA = 1e9, 1e100
SMALLEST_DF, LARGEST_DF = 0.1, 1e9

_NEGLIGIBLE = 60.0
"""Natural logarithm of the factor by which an integrand has fallen where it is cut off: e^−60 = 9e-27."""


def log_affinity(delta: float, *, dim: int, df: float, order: float) -> float:
    """Logarithm of ∫ p^order q^(1−order) with p = t_df(0, I) and q = t_df(shift, I).

    Args:
        delta: Length of the shift, from 0 to 1e100; for another scale, the Mahalanobis distance.
        dim: Number of coordinates, from 1 to 1e9.
        df: Degrees of freedom, from 0.1 to 1e9.
        order: α, positive, not 1. Every order is finite, because both densities fall with one power.

    Returns:
        Order − 1 times the Rényi divergence, with a relative error below ``TOLERANCE``: negative for order < 1,
        positive for order > 1, zero for delta = 0.

    Raises:
        DivergenceError: If an argument is outside its range, or the estimated error is too large.

    Source: derived here and in docs/other-divergences.md; tests/divergence/test_student_t_affinity.py compares with the
    hypergeometric function ₃F₂ in 40 digits and with the definition.
    """
    check_shifted(delta, dim, df)
    if not (order > 0 and order != 1 and math.isfinite(order)):
        raise DivergenceError(f"order is {order}; expected a positive finite number other than 1")
    if delta == 0:
        return 0.0
    value, error = _log_affinity(delta, (df + dim) / 2, df, order)
    if not error <= TOLERANCE * abs(value):
        raise DivergenceError(
            f"the integral of p^{order:g} q^{1 - order:g} for delta {delta:g}, df {df:g} in {dim} dimensions is "
            f"uncertain by {error:.1g}, its logarithm is {value:.3g}; expected a relative error of {TOLERANCE:g}"
        )
    return value


def check_shifted(delta: float, dim: int, df: float) -> None:
    """Raise where the quadratures for shifted Student-t laws are not checked.

    Raises:
        DivergenceError: If an argument is outside its range, NaN included.
    """
    if not 0 <= delta <= LARGEST_DELTA:
        raise DivergenceError(f"delta is {delta}; expected a distance from 0 to {LARGEST_DELTA:g}")
    if not 1 <= dim <= LARGEST_DIM:
        raise DivergenceError(f"dim is {dim}; expected a number of coordinates from 1 to {LARGEST_DIM:g}")
    if not SMALLEST_DF <= df <= LARGEST_DF:
        raise DivergenceError(f"df is {df}; expected degrees of freedom from {SMALLEST_DF:g} to {LARGEST_DF:g}")


def _log_affinity(delta: float, a: float, df: float, order: float) -> tuple[float, float]:
    """The logarithm and its error."""
    if a * (order - 1) > 0.5:
        # Only here: it needs scipy, without which a comparison starts.
        from shrinkscope.divergence.student_t_contour import log_affinity_above

        return log_affinity_above(delta, a, df, order)
    b, log_q = df / 2, 2 * math.log(delta) - math.log(df)
    complement, error = _complement(a, b, log_q, order)
    if complement < 0.5:
        return math.log1p(-complement), error / (1 - complement)
    return _log_mean(a, b, log_q, order)


def _complement(a: float, b: float, log_q: float, order: float) -> tuple[float, float]:
    """1 − E as α(1 − α)a/(a + 1) times the mean of (1 − f)/v, f = (1 + qv)^(−b), under Beta(aα + 1, a(1 − α) + 1).

    Multiplying the weight by v makes it integrable for orders somewhat above 1 as well, where E exceeds 1.
    """
    beta = BetaLogit(a * order + 1, a * (1 - order) + 1)
    ceiling = math.log(b) + log_q  # (1 − f)/v is below bq, and below 1/v

    def bound(t: float) -> float:
        return float(beta.log_weight(np.asarray(t))) + min(ceiling, -float(beta.log_product(np.asarray(t))))

    # The bound is concave; its maximum is at the mode of one of its two parts or where they are equal.
    other = math.log(order) - math.log1p(-order) if order < 1 else _knee(ceiling)
    candidates = [0.0, other - beta.centre]
    level = max(bound(t) for t in candidates) - _NEGLIGIBLE
    width = beta.deviation
    step = min(0.15, 0.25 * width)
    low, high = (falling_point(bound, end(candidates), side * width, level) for end, side in ((min, -1), (max, 1)))
    t = grid(low, high, step)
    log_v, weight = beta.log_product(t), np.exp(beta.log_weight(t))
    terms = weight * -np.expm1(-b * np.logaddexp(0.0, log_v + log_q)) * np.exp(-log_v)
    quotient, error = ratio(terms, weight, step, beta.exponents(t))
    factor = order * (1 - order) * a / (a + 1)
    return factor * quotient, abs(factor) * error


def _log_mean(a: float, b: float, log_q: float, order: float) -> tuple[float, float]:
    """Logarithm of E as the mean of f under Beta(aα, a(1 − α)), where f takes most of the weight away."""
    beta = BetaLogit(a * order, a * (1 - order))

    def log_f(t: np.ndarray) -> np.ndarray:
        return -b * np.logaddexp(0.0, beta.log_product(t) + log_q)

    def weight(t: float) -> float:
        return float(beta.log_weight(np.asarray(t)))

    knee = _knee(math.log(b) + log_q)
    candidates = np.array([0.0, knee - beta.centre, -knee - beta.centre])
    level = float((beta.log_weight(candidates) + log_f(candidates)).max()) - _NEGLIGIBLE
    width = beta.deviation
    step = min(0.15, 0.25 * width)
    t = grid(falling_point(weight, 0.0, -width, level), falling_point(weight, 0.0, width, level), step)
    weights, logs = beta.log_weight(t), log_f(t)
    largest = float((weights + logs).max())
    terms = np.exp(weights + logs - largest)
    quotient, error = ratio(terms, np.exp(weights), step, beta.exponents(t), np.abs(logs))
    return largest + math.log(quotient), error / quotient


def _knee(log_bq: float) -> float:
    """The logit z ≥ 0 at which bqv = 1, where v = 1/(4 cosh²(z/2)), or 0 where there is none."""
    excess = max(0.0, log_bq - math.log(4))
    return excess + 2 * math.log1p(math.sqrt(-math.expm1(-excess)))
