"""The paper's non-diagonal covariance: Σ = βVΛVᵀ, with V orthogonal."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import Covariance
from shrinkscope.divergence.covariance.orthogonal import Orthogonal
from shrinkscope.divergence.covariance.spectrum import Equal, Spectrum, eigenvalues
from shrinkscope.errors import DivergenceError

_PIECE = 2**17  # coordinates, 1 MiB in float64: the temporaries of a piece stay in the cache


class Rotated(Covariance):
    """Σ = βVΛVᵀ: memory and work are those of the orthogonal operator V.

    Args:
        orthogonal: V. Use one and the same object for all comparisons of a study.
        spectrum: Λ, a named spectrum or a tensor of dim eigenvalues.
        scale: β, finite and positive.

    Raises:
        DivergenceError: If β or an eigenvalue is not finite and positive, or their number is not that of V's rows.

    Source: Mozafarinia & Yasaei Sekeh (2024), §2, text after Definition 2.2.
    """

    def __init__(self, orthogonal: Orthogonal, spectrum: Spectrum | Tensor | None = None, scale: float = 1.0) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise DivergenceError(f"scale {scale:g} of a rotated covariance; expected a finite positive number")
        self.orthogonal = orthogonal
        self.scale = float(scale)
        values = eigenvalues(Equal() if spectrum is None else spectrum, orthogonal.dim)
        self.variances = values if scale == 1 else scale * values  # a copy of 10⁸ of them takes as long as a check

    @property
    def dim(self) -> int:
        """Number of rows of Σ."""
        return self.orthogonal.dim

    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """VΛ⁻¹Vᵀx/β."""
        return self.orthogonal.apply(self.orthogonal.transpose(self.vector(x)) / self.variances)

    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """βVΛVᵀx."""
        return self.orthogonal.apply(self.orthogonal.transpose(self.vector(x)) * self.variances)

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """(βΛ)^(−½)Vᵀx."""
        return self.orthogonal.transpose(self.vector(x)) / self.variances.sqrt()

    def quadratic(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Σ (Vᵀx)²/(βλ), summed piece by piece: beyond Vᵀx itself nothing of the size of x is formed."""
        turned = self.orthogonal.transpose(self.vector(x))
        total = turned.new_zeros(turned.shape[:-1])
        for part, variances in zip(turned.split(_PIECE, dim=-1), self.variances.split(_PIECE), strict=True):
            # Added up at once: results kept between temporaries would scatter those over the heap, a vector's worth.
            total += (part.square() / variances).sum(-1)
        return total

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """V(βΛ)^½z."""
        return self.orthogonal.apply(self.vector(z) * self.variances.sqrt())

    def logdet(self) -> float:
        """Σ log(βλ)."""
        return float(self.variances.log().sum())

    def trace(self) -> float:
        """β Σ λ."""
        return float(self.variances.sum())

    def diagonal(self) -> Float[Tensor, " dim"]:
        """β Σⱼ Vᵢⱼ²λⱼ, from the dense matrix: for small dimensions only."""
        return self.dense().diagonal()

    def condition_number(self) -> float:
        """Largest eigenvalue over the smallest, exactly."""
        return float(self.variances.max() / self.variances.min())

    def dense(self) -> Float[Tensor, "dim dim"]:
        """The matrix, made exactly symmetric."""
        matrix = super().dense()
        return torch.add(matrix, matrix.mT) / 2
