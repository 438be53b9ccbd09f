"""Rényi divergence of two multivariate Gaussians as the textbook writes it, with matrices of 60 digits."""

from collections.abc import Sequence

import mpmath

Matrix = Sequence[Sequence[float]]


def renyi(order: float, delta: Sequence[float], cov_p: Matrix, cov_q: Matrix) -> float:
    """With M = aQ + (1 - a)P, a the order: a/2 dᵀM⁻¹d - log(|M| |P|^(a-1) |Q|^(-a)) / (2(a - 1)), or infinity."""
    with mpmath.workdps(60):
        a, p, q, d = mpmath.mpf(order), mpmath.matrix(cov_p), mpmath.matrix(cov_q), mpmath.matrix(list(delta))
        mixed = a * q + (1 - a) * p
        if min(mpmath.eigsy((mixed + mixed.T) / 2, eigvals_only=True)) <= 0:
            return float("inf")
        logs = [mpmath.log(mpmath.det(m)) for m in (mixed, p, q)]
        quadratic = (d.T * mixed**-1 * d)[0]
        return float(a / 2 * quadratic - (logs[0] - (1 - a) * logs[1] - a * logs[2]) / (2 * (a - 1)))
