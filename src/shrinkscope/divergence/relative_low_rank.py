"""R = diag(1 + δ) + WSWᵀ: how one low-rank-plus-diagonal covariance looks from another."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance import LowRankPlusDiagonal
from shrinkscope.divergence.logarithms import log1p_remainder
from shrinkscope.divergence.relative_scale import RelativeScale, Spectral

_BLOCK = 1024
"""Rows of a factor whose outer products are formed at once: 25 MiB for 80 columns."""

_FAR = -0.5
"""Where an eigenvalue of R − I is below this, the log-determinants differ enough to be subtracted without loss."""


class LowRankRelative(RelativeScale):
    """R = diag(1 + δ) + WSWᵀ with WᵀW = I and S small: its eigenvalues are not needed, only rank × rank problems.

    For a weight b in [0, 1] let Y = diag(1 + bδ) and WᵀY⁻¹W = CCᵀ; then |I + b(R − I)| = |Y| |I + bCᵀSC|.

    Args:
        p: The covariance that is looked at.
        q: The covariance it is seen from.
        excess: δ.
        basis: W, orthonormal columns.
        core: S, symmetric.
    """

    def __init__(
        self,
        p: LowRankPlusDiagonal,
        q: LowRankPlusDiagonal,
        excess: Float[Tensor, " dim"],
        basis: Float[Tensor, "dim rank"],
        core: Float[Tensor, "rank rank"],
    ) -> None:
        self.p, self.q, self.basis = p, q, basis
        self.dim = excess.numel()
        self._trace = float(excess.sum() + core.trace())
        self.mean_excess = self._trace / self.dim
        self._log_ratio = float(
            (p.variances / q.variances).log().sum()
            + p.strengths.square().log1p().sum()
            - q.strengths.square().log1p().sum()
        )
        one = torch.ones(1, dtype=torch.float64)
        self._near = float(self._second_order(excess, core, one))
        self._excess = (excess - self.mean_excess) / (1 + self.mean_excess)
        self._core = core / (1 + self.mean_excess)
        self._near_centred = float(self._second_order(self._excess, self._core, one))

    def remainder(self) -> float:
        """Σ (λ − 1 − log λ)."""
        return self._trace - self._log_ratio if math.isnan(self._near) else self._near

    def centred_remainder(self) -> float:
        """Σ log(λ̄/λ)."""
        if math.isnan(self._near_centred):
            return self.dim * math.log1p(self.mean_excess) - self._log_ratio
        return self._near_centred

    def compression(self, a: Float[Tensor, " nodes"]) -> Float[Tensor, " nodes"]:
        """Σ log((1 + aλ/λ̄)/(1 + a))."""
        b = a / (1 + a)
        second = self._second_order(self._excess, self._core, b)
        for index in second.isnan().nonzero().flatten().tolist():
            second[index] = self.dim * a[index].log1p() - (self._mixture(float(a[index])).logdet() - self.q.logdet())
        return -second

    def resolvent(self, delta: Float[Tensor, "batch dim"]) -> Callable[[Tensor], Tensor]:
        """Σ m²/(1 + aλ/λ̄) = deltaᵀ(Σq + aΣp/λ̄)⁻¹delta.

        For V + FFᵀ it is the minimum over z of |(delta − Fz)/√V|² + |z|², a sum of squares, and an error of z from the
        normal equations enters it in second order only.
        """

        def evaluate(a: Tensor) -> Tensor:
            weights = a / (1 + self.mean_excess)
            variances = self.q.variances + weights.unsqueeze(-1) * self.p.variances
            ones = torch.ones_like(weights)
            gains = torch.cat(
                [ones.outer(ones.new_ones(self.q.rank)), weights.sqrt().outer(ones.new_ones(self.p.rank))], -1
            )
            factor = torch.cat([self.q.factor, self.p.factor], -1)
            gram = _weighted_gram(1 / variances, factor) * gains.unsqueeze(-1) * gains.unsqueeze(-2)
            right = ((1 / variances) @ (factor * delta.unsqueeze(-1)) * gains).unsqueeze(-1)
            z = torch.cholesky_solve(right, torch.linalg.cholesky(gram + _identity(gram))).squeeze(-1)
            rest = delta.unsqueeze(-2) - (z * gains) @ factor.mT
            return (rest.square() / variances).sum(-1) + z.square().sum(-1)

        return evaluate

    def _mixture(self, a: float) -> LowRankPlusDiagonal:
        """Σq + aΣp/λ̄."""
        weight = a / (1 + self.mean_excess)
        factor = torch.cat([self.q.factor, weight**0.5 * self.p.factor], -1)
        return LowRankPlusDiagonal(self.q.variances + weight * self.p.variances, factor)

    def _second_order(self, excess: Tensor, core: Tensor, b: Tensor) -> Tensor:
        """The remainder b·tr X − log |I + bX| for X = diag(δ) + WSWᵀ, or NaN where bX is far.

        With WᵀY⁻¹W = CCᵀ and h(x) = x − log(1 + x) it is the sum of terms of second order
        Σ h(bδ) + Σ h(b · eigenvalues of CᵀSC) + b·tr(SWᵀ(I − Y⁻¹)W).
        """
        change = b.unsqueeze(-1) * excess
        near = change.min(-1).values >= _FAR
        change = change.clamp(min=_FAR)
        factor, failures = torch.linalg.cholesky_ex(_weighted_gram(1 / (1 + change), self.basis))
        eigenvalues = b.unsqueeze(-1) * torch.linalg.eigvalsh(factor.mT @ core @ factor)
        near &= (eigenvalues >= _FAR).all(-1) & (failures == 0)
        remainder = log1p_remainder(change).sum(-1) + log1p_remainder(eigenvalues.clamp(min=_FAR)).sum(-1)
        cross = (change / (1 + change)) @ ((self.basis @ core) * self.basis).sum(-1)
        return torch.where(near, remainder + b * cross, math.nan)


def _weighted_gram(weights: Tensor, factor: Tensor) -> Tensor:
    """FᵀDF for each row of weights as the diagonal of D: one matrix product for a block of rows of F."""
    rank = factor.shape[-1]
    i, j = torch.triu_indices(rank, rank, device=factor.device)
    upper = weights.new_zeros(len(weights), len(i))
    for columns, rows in zip(weights.split(_BLOCK, -1), factor.split(_BLOCK), strict=True):
        upper += columns @ (rows[:, i] * rows[:, j])
    gram = weights.new_zeros(len(weights), rank, rank)
    gram[:, i, j] = upper
    gram[:, j, i] = upper
    return gram


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def low_rank_relative(p: LowRankPlusDiagonal, q: LowRankPlusDiagonal) -> RelativeScale:
    """R of two low-rank-plus-diagonal covariances.

    In units of q's diagonal, Σq is I + GqGqᵀ with inverse square root P = I − UcUᵀ, and R − I is
    P(diag(δ) + GpGpᵀ − GqGqᵀ)P. Apart from diag(δ) it lies in the span of U, δU, P(Gp − Gq) and P(Gp + Gq).

    Args:
        p: The covariance that is looked at.
        q: The covariance it is seen from.

    Returns:
        Eigenvalues where the two diagonals are proportional and the rest not far apart, the structured form otherwise.

    Source: derived here; tests/divergence/test_relative.py compares with dense matrices.
    """
    excess = (p.variances - q.variances) / q.variances
    gp, gq = _aligned(p.factor / q.variances.sqrt().unsqueeze(-1), q.factor / q.variances.sqrt().unsqueeze(-1))
    shrink = 1 - (1 + q.strengths.square()).rsqrt()
    u, turned = q.directions, excess.unsqueeze(-1) * q.directions
    difference, total = (g - (u * shrink) @ (u.mT @ g) for g in (gp - gq, gp + gq))
    vectors, triangle = torch.linalg.qr(torch.cat([u, turned, difference, total], -1))
    bu, bt, bd, bs = triangle.split([u.shape[1], u.shape[1], gp.shape[1], gp.shape[1]], -1)
    first = (bu * shrink) @ bt.mT
    second = (bu * shrink) @ (u.mT @ turned) @ (bu * shrink).mT
    core = second - (first + first.mT) + (bd @ bs.mT + bs @ bd.mT) / 2
    core = (core + core.mT) / 2
    if bool((excess == excess[0]).all()):
        strengths, axes = torch.linalg.eigh(core)
        if float(excess[0]) + min(0.0, *strengths.tolist(), 0.0) > _FAR:
            return _with_proportional_diagonals(excess[0], strengths, vectors @ axes, q)
    return LowRankRelative(p, q, excess, vectors, core)


def _aligned(gp: Tensor, gq: Tensor) -> tuple[Tensor, Tensor]:
    """Both factors with as many columns, and gq turned towards gp: GqGqᵀ stays, Gp − Gq becomes as small as it can."""
    columns = max(gp.shape[1], gq.shape[1])
    gp, gq = (torch.nn.functional.pad(g, (0, columns - g.shape[1])) for g in (gp, gq))
    left, _, right = torch.linalg.svd(gq.mT @ gp)
    turned = gq @ (left @ right)
    closer = torch.linalg.matrix_norm(gp - turned) < torch.linalg.matrix_norm(gp - gq)
    return gp, turned if bool(closer) else gq


def _with_proportional_diagonals(excess: Tensor, strengths: Tensor, basis: Tensor, q: LowRankPlusDiagonal) -> Spectral:
    rest = q.dim - basis.shape[1]

    def squares(delta: Tensor) -> Tensor:
        y = q.whiten(delta)
        inside = y @ basis
        outside = (y - inside @ basis.mT).square().sum(-1, keepdim=True)
        return torch.cat([inside.square(), outside], -1) if rest else inside.square()

    values = torch.cat([excess + strengths, excess.reshape(1)]) if rest else excess + strengths
    counts = torch.ones_like(values)
    if rest:
        counts[-1] = rest
    return Spectral(values, 1 + values, squares, counts)
