"""A few strong directions on top of independent noise: Σ = diag(v) + FFᵀ, in O(dim·rank) memory."""

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import Covariance, positive_vector
from shrinkscope.errors import DivergenceError

MAX_RATIO = 1e20
"""Largest 1 + s² (see `LowRankPlusDiagonal`): relative errors grow as ε√(1+s²), which leaves six digits here."""


class LowRankPlusDiagonal(Covariance):
    """Σ = diag(v) + FFᵀ = √v (I + USᵀ²U) √v, with U, s the left singular vectors and values of F/√v.

    In that form every operation is stable where the textbook Woodbury formula subtracts two nearly equal numbers: a
    vector splits into its part orthogonal to U and its rank coordinates in U, and both parts count positively.

    Args:
        diagonal: v, finite and positive, in squared units of the vectors.
        factor: F, one column per direction; its squared norm in row i adds to the variance of coordinate i.

    Raises:
        DivergenceError: If v is not positive, F does not fit it or is not finite, or FFᵀ exceeds the diagonal by
            more than a factor ``MAX_RATIO``, where too few digits would be left.
    """

    def __init__(self, diagonal: Float[Tensor, " dim"], factor: Float[Tensor, "dim rank"]) -> None:
        self.variances = positive_vector(diagonal, "diagonal of a low-rank-plus-diagonal covariance")
        if factor.ndim != 2 or factor.shape[0] != self.variances.numel():
            raise DivergenceError(
                f"a factor of shape {tuple(factor.shape)} does not fit a diagonal of {self.variances.numel()} entries; "
                f"expected ({self.variances.numel()}, rank)"
            )
        self.factor = factor.detach().to(torch.float64)
        if not bool(torch.isfinite(self.factor).all()):
            raise DivergenceError("the factor of a low-rank-plus-diagonal covariance has infinite or NaN entries")
        scaled = self.factor / self.variances.sqrt().unsqueeze(-1)
        self.directions, self.strengths, _ = torch.linalg.svd(scaled, full_matrices=False)
        ratio = 1.0 + float(self.strengths.square().max()) if self.strengths.numel() else 1.0
        if not ratio <= MAX_RATIO:
            condition = ratio * float(self.variances.max() / self.variances.min())
            raise DivergenceError(
                f"the low-rank part exceeds the diagonal by a factor of {ratio:.3g}: the covariance is near-singular "
                f"(condition number up to {condition:.3g}, limit of the factor {MAX_RATIO:g}); increase the diagonal"
            )

    @property
    def dim(self) -> int:
        """Number of rows of Σ."""
        return self.variances.numel()

    @property
    def rank(self) -> int:
        """Number of columns of F."""
        return self.factor.shape[-1]

    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σ⁻¹x in O(dim·rank)."""
        scales = self.variances.sqrt()
        return self._stretch(self.vector(x) / scales, 1 / (1 + self.strengths.square())) / scales

    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σx in O(dim·rank)."""
        x = self.vector(x)
        return x * self.variances + (x @ self.factor) @ self.factor.mT

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """(I + US²Uᵀ)^(−½) x/√v."""
        return self._stretch(self.vector(x) / self.variances.sqrt(), (1 + self.strengths.square()).rsqrt())

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """√v (I + US²Uᵀ)^½ z."""
        return self._stretch(self.vector(z), (1 + self.strengths.square()).sqrt()) * self.variances.sqrt()

    def logdet(self) -> float:
        """Σ log v + Σ log(1 + s²)."""
        return float(self.variances.log().sum() + self.strengths.square().log1p().sum())

    def trace(self) -> float:
        """Σ v + ‖F‖²."""
        return float(self.variances.sum() + self.factor.square().sum())

    def diagonal(self) -> Float[Tensor, " dim"]:
        """The variances: v plus the squared norms of the rows of F."""
        return self.variances + self.factor.square().sum(-1)

    def _stretch(self, y: Tensor, gains: Tensor) -> Tensor:
        """Multiply the coordinates of y along U by gains, and leave what is orthogonal to U as it is."""
        coordinates = y @ self.directions
        return (y - coordinates @ self.directions.mT) + (coordinates * gains) @ self.directions.mT
