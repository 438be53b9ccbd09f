"""KL of two multivariate Gaussians as the textbook writes it, with matrices of 60 digits."""

from collections.abc import Sequence

import mpmath

Matrix = Sequence[Sequence[float]]


def kl(delta: Sequence[float], cov_p: Matrix, cov_q: Matrix) -> float:
    """½(log|Σq|/|Σp| + tr(Σq⁻¹Σp) + deltaᵀΣq⁻¹delta − dim): no attempt to avoid cancellation, the digits pay for it."""
    with mpmath.workdps(60):
        p, q, d = mpmath.matrix(cov_p), mpmath.matrix(cov_q), mpmath.matrix(list(delta))
        inverse = q**-1
        trace = sum(((inverse * p)[i, i] for i in range(len(delta))), mpmath.mpf(0))
        quadratic = (d.T * inverse * d)[0]
        return float((mpmath.log(mpmath.det(q) / mpmath.det(p)) + trace + quadratic - len(delta)) / 2)
