"""Any covariance matrix, kept whole: the reference for the structured ones, and the choice for small dimensions."""

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import Covariance
from shrinkscope.divergence.covariance.cholesky import factorise


class Dense(Covariance):
    """Σ given as a matrix, worked with through its Cholesky factor: O(dim²) memory, O(dim³) once.

    Args:
        matrix: Symmetric positive definite, in squared units of the vectors.

    Raises:
        DivergenceError: If the matrix is not symmetric positive definite, or so near singular that digits are lost.
    """

    def __init__(self, matrix: Float[Tensor, "dim dim"]) -> None:
        self.matrix, self.factor = factorise(matrix, "a dense covariance")

    @property
    def dim(self) -> int:
        """Number of rows of Σ."""
        return self.matrix.shape[-1]

    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σ⁻¹x by two triangular solves."""
        flat = self.vector(x).reshape(-1, self.dim)
        return torch.cholesky_solve(flat.mT, self.factor).mT.reshape(x.shape)

    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σx."""
        return self.vector(x) @ self.matrix

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """L⁻¹x, with Σ = LLᵀ."""
        flat = self.vector(x).reshape(-1, self.dim)
        return torch.linalg.solve_triangular(self.factor, flat.mT, upper=False).mT.reshape(x.shape)

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Lz."""
        return self.vector(z) @ self.factor.mT

    def logdet(self) -> float:
        """2 Σ log Lᵢᵢ."""
        return 2.0 * float(self.factor.diagonal().log().sum())

    def trace(self) -> float:
        """Sum of the diagonal."""
        return float(self.matrix.diagonal().sum())

    def diagonal(self) -> Float[Tensor, " dim"]:
        """The diagonal."""
        return self.matrix.diagonal()

    def dense(self) -> Float[Tensor, "dim dim"]:
        """The matrix itself, of any dimension: it exists already."""
        return self.matrix

    def condition_number(self) -> float:
        """Largest eigenvalue over the smallest, from all eigenvalues."""
        eigenvalues = torch.linalg.eigvalsh(self.matrix)
        return float(eigenvalues[-1] / eigenvalues[0])
