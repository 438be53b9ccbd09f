"""Cholesky factors of covariances, with the condition number that says how many of their digits to trust."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.errors import DivergenceError

MAX_CONDITION = 1e12
"""Largest condition number (after scaling to unit variances) that is accepted: ε·1e12 leaves about four digits."""

_ASYMMETRY = 1e-6


def factorise(matrix: Float[Tensor, "dim dim"], what: str) -> tuple[Tensor, Tensor]:
    """The symmetrised matrix in float64 and its lower Cholesky factor L, with LLᵀ = matrix.

    Args:
        matrix: Symmetric to a relative 1e-6 (what float32 accumulation leaves), positive definite. Its condition number
            is judged after scaling to unit variances, because that is what governs the error of a Cholesky factor.
        what: How error messages call the matrix.

    Returns:
        The matrix (float64, exactly symmetric) and L.

    Raises:
        DivergenceError: If the matrix is not square, finite, symmetric or positive definite, or is near-singular.

    Source: the role of the scaled condition number: Higham, Accuracy and Stability of Numerical Algorithms, §10.1.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise DivergenceError(f"{what} has shape {tuple(matrix.shape)}; expected a square matrix")
    matrix = matrix.detach().to(torch.float64)
    variances = matrix.diagonal()
    if not bool(torch.isfinite(matrix).all()):
        raise DivergenceError(f"{what} has infinite or NaN entries")
    if bool((variances <= 0).any()):
        raise DivergenceError(
            f"{what} is singular or indefinite (condition number inf): its diagonal has a smallest entry of "
            f"{float(variances.min()):.3g}; expected positive variances, add damping"
        )
    scales = variances.sqrt()
    correlation = matrix / scales / scales.unsqueeze(-1)
    if float((correlation - correlation.mT).abs().max()) > _ASYMMETRY:
        raise DivergenceError(f"{what} is not symmetric; expected Σ = Σᵀ")
    correlation = (correlation + correlation.mT) / 2
    factor, info = torch.linalg.cholesky_ex(correlation)
    condition = math.inf if int(info) else condition_estimate(correlation, factor)
    if not condition <= MAX_CONDITION:
        raise DivergenceError(_near_singular(correlation, what))
    return (matrix + matrix.mT) / 2, factor * scales.unsqueeze(-1)


def condition_estimate(matrix: Float[Tensor, "dim dim"], factor: Float[Tensor, "dim dim"]) -> float:
    """Condition number in the 1-norm, estimated from the Cholesky factor in O(dim²) operations (LAPACK's pocon)."""
    norm = float(torch.linalg.matrix_norm(matrix, 1))
    lower = factor.cpu().numpy()
    from scipy.linalg import get_lapack_funcs  # only here, so that a comparison starts without it

    (estimate,) = get_lapack_funcs(("pocon",), (lower,))
    reciprocal, _ = estimate(lower, norm, uplo="L")
    return 1.0 / reciprocal if reciprocal > 0 else math.inf


def _near_singular(correlation: Tensor, what: str) -> str:
    eigenvalues = torch.linalg.eigvalsh(correlation)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    kind = "indefinite" if smallest < -1e-12 * largest else "near-singular"
    condition = largest / smallest if smallest > 0 else math.inf
    return (
        f"{what} is {kind}: scaled to unit variances its condition number is {condition:.3g} (limit {MAX_CONDITION:g}; "
        f"eigenvalues from {smallest:.3g} to {largest:.3g}); add a multiple of the identity"
    )
