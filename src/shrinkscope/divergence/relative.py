"""Which pairs of covariances can be seen from one another without a dim × dim matrix, and how."""

import functools
from collections.abc import Callable

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
    LowRankPlusDiagonal,
    Rotated,
)
from shrinkscope.divergence.pairs import Function, PairTable
from shrinkscope.divergence.relative_low_rank import low_rank_relative
from shrinkscope.divergence.relative_scale import RelativeScale, Spectral
from shrinkscope.errors import DivergenceError

_STRUCTURED = PairTable()


def relative_scale(p: Covariance, q: Covariance) -> RelativeScale:
    """R = Σq^(−½) Σp Σq^(−½) for two covariances of equal dimension.

    Args:
        p: The covariance that is looked at.
        q: The covariance it is seen from.

    Returns:
        R through its eigenvalues or an equivalent: without a dim × dim matrix where both structures allow, through
        dense matrices up to ``DENSE_LIMIT`` dimensions otherwise.

    Raises:
        DivergenceError: If the dimensions differ, or a pair without a structured form is too large for dense matrices.
    """
    if p.dim != q.dim:
        raise DivergenceError(f"covariances of dimensions {p.dim} and {q.dim}; expected equal dimensions")
    if p is q:
        return _unit(q)
    for structured in _STRUCTURED.matches(p, q):
        relative = structured(p, q)
        if relative is not None:
            return relative
    if p.dim > DENSE_LIMIT and not (isinstance(p, Dense) and isinstance(q, Dense)):
        raise DivergenceError(
            f"{p!r} and {q!r} have no common structure, and dense matrices are formed up to dimension {DENSE_LIMIT} "
            f"only; pairs that need none: {_STRUCTURED.known()} (Kronecker: factors of equal sizes; Rotated: one and "
            f"the same orthogonal)"
        )
    return _dense(p, q)


def squared_distance(covariance: Covariance, delta: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    """DeltaᵀΣ⁻¹delta, the squared Mahalanobis distance of the two means.

    Raises:
        DivergenceError: If delta does not fit, or the distance is not finite: NaN or overflow in the means.
    """
    square = covariance.quadratic(delta)
    if not bool(torch.isfinite(square).all()):
        raise DivergenceError(
            f"{int((~torch.isfinite(square)).sum())} of {square.numel()} differences of means have entries that are "
            f"not finite or overflow when squared; expected finite means, check the weights for NaN and infinity"
        )
    return square


def register(first: type[Covariance], second: type[Covariance]) -> Callable[[Function], Function]:
    """Decorator: files a function (p, q) → RelativeScale, or None where it does not apply, for two types."""
    return _STRUCTURED.register(first, second)


def _unit(q: Covariance) -> Spectral:
    """R = I: one eigenvalue, dim times."""
    one = torch.ones(1, dtype=torch.float64)
    return Spectral(0 * one, one, lambda delta: q.quadratic(delta).unsqueeze(-1), q.dim * one)


def _dense(p: Covariance, q: Covariance) -> Spectral:
    dense_p, dense_q = (c if isinstance(c, Dense) else Dense(c.dense()) for c in (p, q))
    excess, eigenvalues, axes = _generalised(dense_p.matrix, dense_p.factor, dense_q.matrix, dense_q.factor)
    return Spectral(excess, eigenvalues, lambda delta: (dense_q.whiten(delta) @ axes()).square())


def _generalised(p: Tensor, root_p: Tensor, q: Tensor, root_q: Tensor) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
    """λ − 1, λ and, when they are called for, the eigenvectors of R, for matrices p, q and their Cholesky factors.

    λ − 1 are the eigenvalues of Lq⁻¹(p − q)Lq⁻ᵀ: for nearly equal matrices nothing cancels but entries of p and q.
    Where λ is below ½ it is a squared singular value of Lq⁻¹Lp, which keeps the digits of small ones.
    """
    half = torch.linalg.solve_triangular(root_q, p - q, upper=False)
    whole = torch.linalg.solve_triangular(root_q, half.mT, upper=False)
    symmetric = (whole + whole.mT) / 2
    excess = torch.linalg.eigvalsh(symmetric)
    eigenvalues = 1 + excess
    if float(excess[0]) < -0.5:
        singular = torch.linalg.svdvals(torch.linalg.solve_triangular(root_q, root_p, upper=False))
        eigenvalues = torch.where(excess < -0.5, singular.square().flip(0), eigenvalues)
    return excess, eigenvalues, functools.cache(lambda: torch.linalg.eigh(symmetric).eigenvectors)


@register(Isotropic, Isotropic)
def _isotropic(p: Isotropic, q: Isotropic) -> Spectral:
    ratio = torch.tensor([p.variance / q.variance], dtype=torch.float64)
    excess = torch.tensor([(p.variance - q.variance) / q.variance], dtype=torch.float64)
    count = torch.tensor([float(p.dim)], dtype=torch.float64)
    return Spectral(excess, ratio, lambda delta: q.quadratic(delta).unsqueeze(-1), count)


@register(Diagonal, Diagonal)
@register(Isotropic, Diagonal)
@register(Diagonal, Isotropic)
def _diagonal(p: Covariance, q: Covariance) -> Spectral:
    return _independent(p.diagonal(), q.diagonal(), lambda delta: q.whiten(delta).square())


@register(Rotated, Rotated)
def _rotated(p: Rotated, q: Rotated) -> Spectral | None:
    """With one V, the two are diagonal in the same coordinates."""
    if p.orthogonal is not q.orthogonal:
        return None
    return _independent(p.variances, q.variances, lambda delta: q.whiten(delta).square())


@register(Rotated, Isotropic)
def _rotated_from_isotropic(p: Rotated, q: Isotropic) -> Spectral:
    return _independent(p.variances, q.diagonal(), lambda delta: p.orthogonal.transpose(delta).square() / q.variance)


@register(Isotropic, Rotated)
def _isotropic_from_rotated(p: Isotropic, q: Rotated) -> Spectral:
    return _independent(p.diagonal(), q.variances, lambda delta: q.whiten(delta).square())


def _independent(vp: Tensor, vq: Tensor, squares: Callable[[Tensor], Tensor]) -> Spectral:
    return Spectral((vp - vq) / vq, vp / vq, squares)


@register(LowRankPlusDiagonal, LowRankPlusDiagonal)
@register(LowRankPlusDiagonal, Diagonal)
@register(LowRankPlusDiagonal, Isotropic)
@register(Diagonal, LowRankPlusDiagonal)
@register(Isotropic, LowRankPlusDiagonal)
def _low_rank(p: Covariance, q: Covariance) -> RelativeScale:
    return low_rank_relative(_as_low_rank(p), _as_low_rank(q))


def _as_low_rank(covariance: Covariance) -> LowRankPlusDiagonal:
    if isinstance(covariance, LowRankPlusDiagonal):
        return covariance
    variances = covariance.diagonal()
    return LowRankPlusDiagonal(variances, variances.new_zeros(len(variances), 0))


@register(Kronecker, Kronecker)
def _kronecker(p: Kronecker, q: Kronecker) -> Spectral | None:
    """R is the Kronecker product of the factors' own R, and with λ = λₗλᵣ the excess is xₗ + xᵣ + xₗxᵣ."""
    if (p.rows, p.columns) != (q.rows, q.columns):
        return None
    xl, left, axes_left = _generalised(p.left, p.left_factor, q.left, q.left_factor)
    xr, right, axes_right = _generalised(p.right, p.right_factor, q.right, q.right_factor)
    excess = xl.unsqueeze(-1) + xr + torch.outer(xl, xr)

    def squares(delta: Tensor) -> Tensor:
        matrix = q.whiten(delta).reshape(*delta.shape[:-1], q.rows, q.columns)
        return (axes_left().mT @ matrix @ axes_right()).square().reshape(delta.shape)

    return Spectral(excess.reshape(-1), torch.outer(left, right).reshape(-1), squares)


@register(Kronecker, Isotropic)
def _kronecker_from_isotropic(p: Kronecker, q: Isotropic) -> Spectral | None:
    return _kronecker(p, _isotropic_factors(q, p))


@register(Isotropic, Kronecker)
def _isotropic_from_kronecker(p: Isotropic, q: Kronecker) -> Spectral | None:
    return _kronecker(_isotropic_factors(p, q), q)


def _isotropic_factors(covariance: Isotropic, like: Kronecker) -> Kronecker:
    left, right = torch.eye(like.rows, dtype=torch.float64), torch.eye(like.columns, dtype=torch.float64)
    return Kronecker(covariance.variance * left, right)
