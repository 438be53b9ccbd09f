"""KL of two multivariate Student-t distributions by routes that share nothing with the package."""

import math
from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
from scipy.special import gammaln


def series(eigenvalues: Sequence[float], counts: Sequence[int], df_p: float, df_q: float, digits: int = 40) -> float:
    """Equal locations, by the closed form of Bouhlel & Rousseau (2023, doi 10.1109/LSP.2023.3324594).

    Its hypergeometric part, the derivative at a = 0 of Lauricella's F_D(a; b; a + Σb; x), is −E log Σ cⱼwⱼ for a
    Dirichlet vector w with parameters b: ½ for each dimension, with cⱼ = (df_p/df_q)·λⱼ, and df_p/2 with c₀ = 1. All c
    are divided by the middle of their range first, so that |xⱼ| = |1 − cⱼ| < 1 and the power series
    Σ (m−1)!/(Σb)_m · [tᵐ]∏(1 − xⱼt)^(−bⱼ) converges.
    """
    with mpmath.workdps(digits):
        nu, kappa, d = mpmath.mpf(df_p), mpmath.mpf(df_q), sum(counts)
        lam = [mpmath.mpf(value) for value in eigenvalues]
        c = [mpmath.mpf(1), *(nu / kappa * value for value in lam)]
        b = [nu / 2, *(mpmath.mpf(count) / 2 for count in counts)]
        middle = (max(c) + min(c)) / 2
        x, beta = [1 - value / middle for value in c], sum(b)
        mean_log = mpmath.log(middle) - _derivative(b, x, beta) - (mpmath.psi(0, nu / 2) - mpmath.psi(0, beta))
        constants = _log_constant(nu, d) - _log_constant(kappa, d)
        log_det = mpmath.fsum(n * mpmath.log(value) for n, value in zip(counts, lam, strict=True))
        entropy = (nu + d) / 2 * (mpmath.psi(0, (nu + d) / 2) - mpmath.psi(0, nu / 2))
        return float(constants - log_det / 2 - entropy + (kappa + d) / 2 * mean_log)


def _log_constant(nu, d):
    return mpmath.loggamma((nu + d) / 2) - mpmath.loggamma(nu / 2) - mpmath.mpf(d) / 2 * mpmath.log(nu * mpmath.pi)


def _derivative(b, x, beta):
    """Σ_{m≥1} (m−1)!/(β)_m · C_m, where m·C_m = Σ_k (Σⱼ bⱼxⱼᵏ) C_{m−k} are the coefficients of ∏(1 − xⱼt)^(−bⱼ)."""
    total, factor = mpmath.mpf(0), mpmath.mpf(1)
    coefficients, powers, current = [mpmath.mpf(1)], [], list(b)
    for m in range(1, 20_000):
        current = [value * xj for value, xj in zip(current, x, strict=True)]
        powers.append(mpmath.fsum(current))
        coefficients.append(mpmath.fdot(powers, reversed(coefficients)) / m)
        factor = 1 / beta if m == 1 else factor * (m - 1) / (beta + m - 1)
        term = factor * coefficients[-1]
        total += term
        if abs(term) < mpmath.eps * abs(total) and m > 10:
            return total
        if all(xj == 0 for xj in x):
            return mpmath.mpf(0)
    raise ArithmeticError("the series has not converged")


def in_one_dimension(shift: float, scale: float, df_p: float, df_q: float) -> float:
    """KL(t(shift, scale²) ‖ t(0, 1)) as ∫ p log(p/q), by mpmath with 25 digits; degrees of freedom may be infinite."""
    with mpmath.workdps(25):

        def log_density(x, df):
            if math.isinf(df):
                return -x * x / 2 - mpmath.log(2 * mpmath.pi) / 2
            return _log_constant(mpmath.mpf(df), 1) - (mpmath.mpf(df) + 1) / 2 * mpmath.log1p(x * x / df)

        def integrand(z):
            log_p = log_density(z, df_p)
            return mpmath.exp(log_p) * (log_p - mpmath.log(scale) - log_density(shift + scale * z, df_q))

        def transformed(u):  # (z = sinh u: power-law tails become exponential ones)
            return integrand(mpmath.sinh(u)) * mpmath.cosh(u)

        reach = 5 if math.isinf(df_p) else 45 / df_p if math.isfinite(df_q) else 45 / (df_p - 2)
        middle = -mpmath.asinh(mpmath.mpf(shift) / scale)
        integral: Any = mpmath.quad(transformed, sorted([-reach - 6, middle, 0, reach + 6]))
        return float(integral)


def axisymmetric(dim: int, shift: float, along: float, across: float, df_p: float, df_q: float) -> float:
    """KL(t(shift·e₁, diag(along, across, …)) ‖ t(0, I)), dim ≥ 2, as a two-dimensional integral of p log(p/q).

    In p's standardised coordinates, r = exp(t/2) is the distance and tanh s the cosine to e₁; both densities of t and s
    decay exponentially, where the trapezoidal rule is at its best. Needs df_p > 2 if df_q is infinite.
    """
    heavy = df_p if math.isfinite(df_q) else df_p - 2
    t = np.arange(-80 / dim - 12, 80 / min(heavy, 40) + 12 if math.isfinite(df_p) else 12, 0.05)[:, None]
    s = np.arange(-40 / (dim - 1) - 4, 40 / (dim - 1) + 4, 0.05)[None, :]
    square, cosine, sine2 = np.exp(t) * dim, np.tanh(s), np.cosh(s) ** -2.0
    log_p = _log_density(square, df_p, dim)
    weights = log_p + dim / 2 * t + (dim - 1) / 2 * np.log(sine2)
    weights = np.exp(weights - weights.max())
    weights = weights / weights.sum()
    to_q = (shift + np.sqrt(along * square) * cosine) ** 2 + across * square * sine2
    log_scale = (math.log(along) + (dim - 1) * math.log(across)) / 2
    return float((weights * (log_p - log_scale - _log_density(to_q, df_q, dim))).sum())


def _log_density(square: np.ndarray, df: float, dim: int) -> np.ndarray:
    if math.isinf(df):
        return -square / 2 - dim / 2 * math.log(2 * math.pi)
    constant = gammaln((df + dim) / 2) - gammaln(df / 2) - dim / 2 * math.log(df * math.pi)
    return constant - (df + dim) / 2 * np.log1p(square / df)


def radial(dim: int, df_p: float, df_q: float, mean_excess: float) -> float:
    """KL(t(0, λ̄I) ‖ t(0, I)), λ̄ = 1 + mean_excess, as ∫ p log(p/q) over t = log(r²/dim) with 50 digits."""
    with mpmath.workdps(50):
        scale, half = 1 + mpmath.mpf(mean_excess), mpmath.mpf(dim) / 2

        def log_density(square: Any, df: float) -> Any:
            if math.isinf(df):
                return -square / 2 - half * mpmath.log(2 * mpmath.pi)
            return _log_constant(mpmath.mpf(df), dim) - (mpmath.mpf(df) + dim) / 2 * mpmath.log1p(square / df)

        def integrand(t: Any) -> Any:
            square = dim * mpmath.exp(t)
            log_p, log_q = log_density(square, df_p), log_density(square * scale, df_q) + half * mpmath.log(scale)
            surface = half * mpmath.log(mpmath.pi) - mpmath.loggamma(half) + half * mpmath.log(square)
            return mpmath.exp(log_p + surface) * (log_p - log_q)

        heavy = df_p if math.isfinite(df_q) else df_p - 2
        step = mpmath.mpf(min(0.1, math.sqrt(2 / dim + 2 / df_p) / 8))
        low, high = -200 / dim - 6, 6 if math.isinf(df_p) else min(200 / heavy, 40) + 6
        nodes = math.ceil((high - low) / step)
        return float(step * mpmath.fsum(integrand(low + k * step) for k in range(nodes)))
