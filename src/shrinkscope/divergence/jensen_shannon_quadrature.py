r"""Jensen–Shannon divergence of two laws that differ by a shift: a one- or two-dimensional sum of positive terms.

With u = log(p/q), which changes its sign at the plane half-way between the centres, folding the plane over gives

.. math:: JS = \int_{u > 0} p\,G(u), \qquad
          G(u) = (1 + e^{-u})\bigl(\log 2 - \log(1 + e^{-u})\bigr) - u\,e^{-u},

where G rises from u²/4 to log 2. Let s > 0 be the distance from that plane on the side of p's centre, itself δ/2 away.

* Gaussian: u = δs and s − δ/2 is standard normal, in every dimension.
* Student-t: let x = s − δ/2 ~ t_ν be the coordinate along the shift and T ~ Beta((ν + 1)/2, (d − 1)/2), or 1 for d = 1;
  the two are independent, ν + |X|² = (ν + x²)/T, and u = (ν + d)/2 · log(1 + 2δsT/(ν + x²)).

The outer integral runs over r, with ω·log(1 + eʳ) the distance s itself for the Gaussian, and for the Student-t that
of the inverse hyperbolic sines of x/√ν and −δ/(2√ν): exponential near the plane, even steps far from it. The inner one
runs over the logit of T. The integrands are analytic in strips of a width of about 1 (of the deviation of the logit
where that is narrower), so the trapezoidal rule converges exponentially.
"""

import math

import numpy as np
import torch

from shrinkscope.divergence.beta_logit import BetaLogit
from shrinkscope.divergence.logarithms import log1p_remainder
from shrinkscope.divergence.student_t_affinity import check_shifted
from shrinkscope.divergence.trapezoid import falling_point, grid, trapezoid
from shrinkscope.errors import DivergenceError

TOLERANCE = 1e-10
"""Relative error above which no value is returned."""

_STEP = 1 / 16
_LOWEST = -20.0
"""Where r is cut: terms fall as e³ʳ."""
_BULK = 50.0
"""Natural logarithm of the factor by which p has fallen where it is cut off."""
_FAR = 100.0
"""Distance beyond which two Gaussians differ by less than e^−1000 from disjoint laws."""
_BLOCK = 2**18
"""Numbers in one block of (outer × inner) nodes: 2 MiB a table."""

Array = np.ndarray


def gaussian_jensen_shannon(delta: float) -> float:
    """Jensen–Shannon divergence of N(μ, Σ) and N(μ + Δ, Σ) in nats, from δ = √(ΔᵀΣ⁻¹Δ).

    Args:
        delta: Mahalanobis distance, from 0 to 1e100.

    Returns:
        From 0 to log 2; relative error below 1e-13.

    Raises:
        DivergenceError: If delta is outside its range.

    Source: derived here; tests/divergence/test_jensen_shannon_quadrature.py compares with mpmath integrals.
    """
    check_shifted(delta, 1, 1.0)
    delta = min(delta, _FAR)
    reach = math.sqrt(2 * _BULK)
    r = _distances(delta / 2 - reach, delta / 2 + reach)
    s = np.logaddexp(0.0, r)
    density = np.exp(-((s - delta / 2) ** 2) / 2) / math.sqrt(2 * math.pi)
    value, _ = trapezoid(density * _gain(delta * s) * _slope(r), _STEP)
    return min(value, math.log(2))


def student_t_jensen_shannon(delta: float, *, dim: int, df: float) -> float:
    """Jensen–Shannon divergence of t_df(μ, Σ) and t_df(μ + Δ, Σ) in nats, from δ = √(ΔᵀΣ⁻¹Δ).

    Args:
        delta: Mahalanobis distance in units of the scale, from 0 to 1e100.
        dim: Number of coordinates, from 1 to 1e9.
        df: Degrees of freedom, from 0.1 to 1e9.

    Returns:
        From 0 to log 2; relative error below ``TOLERANCE``.

    Raises:
        DivergenceError: If an argument is outside its range, or the estimated error is too large.

    Source: derived here; tests/divergence/test_jensen_shannon_quadrature.py compares with the definition.
    """
    check_shifted(delta, dim, df)
    if delta == 0:
        return 0.0
    weights, log_ratio = _along_the_shift(delta, df)
    share, log_t = _across_the_shift(dim, df)
    fine, coarse = np.empty_like(weights), np.empty_like(weights)
    rows = max(1, _BLOCK // len(share))
    for start in range(0, len(weights), rows):
        block = slice(start, start + rows)
        gain = _gain((df + dim) / 2 * np.logaddexp(0.0, log_ratio[block, None] + log_t))
        fine[block] = weights[block] * (gain @ share)
        coarse[block] = weights[block] * (gain[:, ::2] @ share[::2]) / share[::2].sum()
    value, error = trapezoid(fine, _STEP)
    error += (value - trapezoid(coarse, _STEP)[0]) ** 2 / max(value, 1e-300)
    if not error <= TOLERANCE * value:
        raise DivergenceError(
            f"the Jensen–Shannon divergence {value:.3g} for delta {delta:g}, df {df:g} in {dim} dimensions is "
            f"uncertain by {error:.1g}; expected a relative error of {TOLERANCE:g}"
        )
    return min(value, math.log(2))  # rounding may leave it just above


def _along_the_shift(delta: float, df: float) -> tuple[Array, Array]:
    """At the nodes r: the density of t_df with respect to r, and log(2δs/(ν + x²))."""
    omega, centre = min(1.0, df**-0.5), math.asinh(delta / (2 * math.sqrt(df)))
    bulk = falling_point(lambda z: -df * float(_log_cosh(np.asarray(z))), 0.0, omega, -_BULK)
    r = _distances((centre - bulk) / omega, (centre + bulk) / omega)
    y = omega * np.logaddexp(0.0, r)
    z = y - centre  # the inverse hyperbolic sine of x/√ν; s = √ν(sinh z + sinh centre) as a product:
    log_s = math.log(2) + math.log(df) / 2 + _log_sinh(y / 2) + _log_cosh(y / 2 - centre)
    log_ratio = math.log(2) + math.log(delta) + log_s - math.log(df) - 2 * _log_cosh(z)
    even = grid(-bulk, bulk, omega / 16)
    total, _ = trapezoid(np.exp(-df * _log_cosh(even)), omega / 16)
    return np.exp(-df * _log_cosh(z)) * omega * _slope(r) / total, log_ratio


def _across_the_shift(dim: int, df: float) -> tuple[Array, Array]:
    """Probabilities and logarithms of T ~ Beta((ν + 1)/2, (d − 1)/2) at the nodes of its logit."""
    if dim == 1:
        return np.ones(1), np.zeros(1)
    beta = BetaLogit((df + 1) / 2, (dim - 1) / 2)

    def weight(t: float) -> float:
        return float(beta.log_weight(np.asarray(t)))

    low, high = (falling_point(weight, 0.0, side * beta.deviation, -_BULK) for side in (-1, 1))
    t = grid(low, high, min(0.15, 0.25 * beta.deviation))
    share = np.exp(beta.log_weight(t))
    return share / share.sum(), beta.log_variable(t)


def _distances(near: float, far: float) -> Array:
    """Nodes r for which log(1 + eʳ) goes from near (or from almost 0) to far."""
    return grid(_inverse_softplus(near) if near > 1e-8 else _LOWEST, _inverse_softplus(far), _STEP)


def _inverse_softplus(x: float) -> float:
    return x + math.log(-math.expm1(-x))


def _slope(r: Array) -> Array:
    return 1 / (1 + np.exp(-r))


def _gain(u: Array) -> Array:
    """G(u), near 0 from the even function of tanh(u/2) that p + q leave of it."""
    fall = np.exp(-u)
    t = torch.from_numpy(np.tanh(np.minimum(u, 1.0) / 2))
    near = t * t - ((1 + t) * log1p_remainder(t) + (1 - t) * log1p_remainder(-t)) / 2
    far = (1 + fall) * (math.log(2) - np.log1p(fall)) - np.where(u < 800, u, 0.0) * fall
    return np.where(u < 1, (1 + fall) * near.numpy(), far)


def _log_cosh(x: Array) -> Array:
    near = np.log1p(np.sinh(np.clip(x, -1.0, 1.0)) ** 2) / 2
    return np.where(np.abs(x) < 1, near, np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - math.log(2))


def _log_sinh(x: Array) -> Array:
    return x + np.log(-np.expm1(-2 * x)) - math.log(2)
