"""Kullback–Leibler divergence of two multivariate Gaussians, exactly, for every structure of covariance."""

from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance import Covariance
from shrinkscope.divergence.relative import relative_scale, squared_distance


def gaussian_kl(
    delta: Float[Tensor, "*batch dim"], cov_p: Covariance, cov_q: Covariance | None = None
) -> Float[Tensor, "*batch"]:
    """KL(N(μp, Σp) ‖ N(μq, Σq)) in nats, from the difference of the means.

    It is ½(log|Σq|/|Σp| + tr(Σq⁻¹Σp) + deltaᵀΣq⁻¹delta − dim): the matrix of the *second* distribution is inverted. The
    first three parts that depend on the covariances are summed as λ − 1 − log λ over the eigenvalues λ of Σq⁻¹Σp, which
    are non-negative terms, so that nearly equal covariances lose no digits and determinants cannot overflow.

    Args:
        delta: μp − μq, in the units of the means; any number of leading dimensions.
        cov_p: Σp, covariance of the first distribution.
        cov_q: Σq, covariance of the second distribution; that of the first by default.

    Returns:
        Divergences, float64, one for each difference; differentiable in delta. The relative error is at most about
        100·ε·κ, with ε = 1.1e-16 and κ the condition number of a dense or Kronecker covariance scaled to unit variances
        (√κ where one part is low-rank, 1 for diagonal ones).

    Raises:
        DivergenceError: If the dimensions differ, the means are not finite, or the two covariances are too large and of
            unlike structure.

    Source: Kullback & Leibler (1951) for the definition. The paper's Eq. (3) has the roles of the two covariances
    exchanged: it is KL of the second from the first. tests/divergence/test_gaussian.py compares with 50-digit matrices.
    """
    cov_q = cov_p if cov_q is None else cov_q
    return (squared_distance(cov_q, delta) + relative_scale(cov_p, cov_q).remainder()) / 2
