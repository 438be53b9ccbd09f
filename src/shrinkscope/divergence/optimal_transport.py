"""The Bures distance of two covariances: what their shapes add to the 2-Wasserstein distance of elliptical laws."""

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance import (
    DENSE_LIMIT,
    Covariance,
    Dense,
    Diagonal,
    Isotropic,
    Kronecker,
    Rotated,
)
from shrinkscope.divergence.pairs import PairTable
from shrinkscope.errors import DivergenceError

_STRUCTURED = PairTable()


def squared_bures(p: Covariance, q: Covariance) -> float:
    """tr(Σp + Σq − 2(Σp^½ Σq Σp^½)^½), in squared units of the vectors.

    It is the least ‖A − B‖² over square roots AAᵀ = Σp, BBᵀ = Σq, and is computed so, as a sum of squares: the trace
    formula would leave nearly equal covariances half their digits.

    Args:
        p: First covariance.
        q: Second covariance.

    Returns:
        Non-negative; zero for equal matrices, up to rounding of the square roots.

    Raises:
        DivergenceError: If the dimensions differ, or dense matrices would be needed beyond ``DENSE_LIMIT`` dimensions.

    Source: Bhatia, Jain & Lim (2019), Theorem 1, for the least distance; tests/divergence/test_optimal_transport.py.
    """
    if p.dim != q.dim:
        raise DivergenceError(f"covariances of dimensions {p.dim} and {q.dim}; expected equal dimensions")
    structured = _STRUCTURED.find(p, q)
    result = structured(p, q) if structured else None
    if result is not None:
        return float(result)
    if p.dim > DENSE_LIMIT and not (isinstance(p, Dense) and isinstance(q, Dense)):
        raise DivergenceError(
            f"the square roots of {p!r} and {q!r} have no common structure, and dense matrices are formed up to "
            f"dimension {DENSE_LIMIT} only; pairs that need none: {_STRUCTURED.known()} (Kronecker: factors of equal "
            f"sizes; Rotated: one and the same orthogonal)"
        )
    dense_p, dense_q = (c if isinstance(c, Dense) else Dense(c.dense()) for c in (p, q))
    first, second = _closest_roots(dense_p.factor, dense_q.factor)
    return float((first - second).square().sum())


def _closest_roots(p: Tensor, q: Tensor) -> tuple[Float[Tensor, "dim dim"], Float[Tensor, "dim dim"]]:
    """The two Cholesky factors, the second turned by the orthogonal matrix that brings it closest to the first."""
    left, _, right = torch.linalg.svd(q.mT @ p)
    return p, q @ (left @ right)


@_STRUCTURED.register(Isotropic, Isotropic)
def _isotropic(p: Isotropic, q: Isotropic) -> float:
    return p.dim * (p.variance**0.5 - q.variance**0.5) ** 2


@_STRUCTURED.register(Diagonal, Diagonal)
@_STRUCTURED.register(Isotropic, Diagonal)
@_STRUCTURED.register(Diagonal, Isotropic)
def _diagonal(p: Covariance, q: Covariance) -> Tensor:
    return _commuting(p.diagonal(), q.diagonal())


@_STRUCTURED.register(Rotated, Rotated)
def _rotated(p: Rotated, q: Rotated) -> Tensor | None:
    return _commuting(p.variances, q.variances) if p.orthogonal is q.orthogonal else None


@_STRUCTURED.register(Rotated, Isotropic)
def _rotated_to_isotropic(p: Rotated, q: Isotropic) -> Tensor:
    return _commuting(p.variances, q.diagonal())


@_STRUCTURED.register(Isotropic, Rotated)
def _isotropic_to_rotated(p: Isotropic, q: Rotated) -> Tensor:
    return _commuting(p.diagonal(), q.variances)


def _commuting(vp: Tensor, vq: Tensor) -> Tensor:
    """Σ (√vp − √vq)², as differences of the variances themselves."""
    return ((vp - vq) / (vp.sqrt() + vq.sqrt())).square().sum()


@_STRUCTURED.register(Kronecker, Kronecker)
def _kronecker(p: Kronecker, q: Kronecker) -> Tensor | None:
    """‖A ⊗ B − A′ ⊗ B′‖² for the closest roots of the factors, written out around A − A′ and B − B′."""
    if (p.rows, p.columns) != (q.rows, q.columns):
        return None
    a, a_other = _closest_roots(p.left_factor, q.left_factor)
    b, b_other = _closest_roots(p.right_factor, q.right_factor)
    da, db = a - a_other, b - b_other
    cross = (da * a_other).sum() * (db * b).sum()
    return da.square().sum() * b.square().sum() + a_other.square().sum() * db.square().sum() + 2 * cross
