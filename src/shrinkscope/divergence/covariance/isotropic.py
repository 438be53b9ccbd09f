"""Equal variances in every direction: Σ = σ²I, of any dimension, in constant memory."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import Covariance
from shrinkscope.errors import DivergenceError


class Isotropic(Covariance):
    """Σ = σ²I.

    Args:
        dim: Number of dimensions, at least 1.
        variance: σ², finite and positive, in squared units of the vectors.

    Raises:
        DivergenceError: If the dimension or the variance is out of range.
    """

    def __init__(self, dim: int, variance: int | float = 1.0) -> None:
        if dim < 1:
            raise DivergenceError(f"dimension {dim} of an isotropic covariance; expected at least 1")
        if not (math.isfinite(variance) and variance > 0):
            raise DivergenceError(
                f"variance {variance:g} of an isotropic covariance; expected a finite positive number"
            )
        self._dim = int(dim)
        self.variance = float(variance)

    @property
    def dim(self) -> int:
        """Number of rows of Σ."""
        return self._dim

    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σ⁻¹x = x/σ²."""
        return self.vector(x) / self.variance

    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σx = σ²x."""
        return self.vector(x) * self.variance

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """x/σ."""
        return self.vector(x) / math.sqrt(self.variance)

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """σz."""
        return self.vector(z) * math.sqrt(self.variance)

    def quadratic(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """‖x‖²/σ²."""
        return self.vector(x).square().sum(-1) / self.variance

    def logdet(self) -> float:
        """The logarithm of |Σ|: dim · log σ²."""
        return self.dim * math.log(self.variance)

    def trace(self) -> float:
        """Sum of the variances: dim · σ²."""
        return self.dim * self.variance

    def diagonal(self) -> Float[Tensor, " dim"]:
        """σ², dim times (a view of one number)."""
        return torch.tensor(self.variance, dtype=torch.float64).expand(self.dim)

    def condition_number(self) -> float:
        """Exactly 1."""
        return 1.0
