"""Covariances of a matrix of weights that treat rows and columns apart: Σ = left ⊗ right, as in K-FAC."""

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import Covariance
from shrinkscope.divergence.covariance.cholesky import factorise


class Kronecker(Covariance):
    """Σ = left ⊗ right over matrices of shape (rows, columns) that are flattened row by row.

    A layer's weight of shape (out, in), flattened as torch does it, has covariance left (out × out) between rows and
    right (in × in) between columns. Neither memory nor work involves the full rows·columns square matrix.

    Args:
        left: Symmetric positive definite, rows × rows.
        right: Symmetric positive definite, columns × columns.

    Raises:
        DivergenceError: If a factor is not symmetric positive definite, or so near singular that digits are lost.
    """

    def __init__(self, left: Float[Tensor, "rows rows"], right: Float[Tensor, "columns columns"]) -> None:
        self.left, self.left_factor = factorise(left, "the left factor of a Kronecker covariance")
        self.right, self.right_factor = factorise(right, "the right factor of a Kronecker covariance")

    @property
    def rows(self) -> int:
        """Size of the left factor."""
        return self.left.shape[-1]

    @property
    def columns(self) -> int:
        """Size of the right factor."""
        return self.right.shape[-1]

    @property
    def dim(self) -> int:
        """Number of rows of Σ: rows · columns."""
        return self.rows * self.columns

    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """left⁻¹ X right⁻¹, with X the vector as a matrix."""
        half = torch.cholesky_solve(self._matrix(x), self.left_factor)
        return torch.cholesky_solve(half.mT, self.right_factor).mT.reshape(x.shape)

    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The matrix left X right, with X the vector as a matrix."""
        return (self.left @ self._matrix(x) @ self.right).reshape(x.shape)

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """A⁻¹ X B⁻ᵀ, with left = AAᵀ and right = BBᵀ."""
        half = torch.linalg.solve_triangular(self.left_factor, self._matrix(x), upper=False)
        return torch.linalg.solve_triangular(self.right_factor, half.mT, upper=False).mT.reshape(x.shape)

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """A Z Bᵀ, with left = AAᵀ and right = BBᵀ."""
        return (self.left_factor @ self._matrix(z) @ self.right_factor.mT).reshape(z.shape)

    def logdet(self) -> float:
        """The logarithm of |Σ|: columns · log|left| + rows · log|right|."""
        left = 2.0 * float(self.left_factor.diagonal().log().sum())
        right = 2.0 * float(self.right_factor.diagonal().log().sum())
        return self.columns * left + self.rows * right

    def trace(self) -> float:
        """Product of the traces."""
        return float(self.left.diagonal().sum() * self.right.diagonal().sum())

    def diagonal(self) -> Float[Tensor, " dim"]:
        """Products of the diagonals."""
        return torch.outer(self.left.diagonal(), self.right.diagonal()).reshape(-1)

    def condition_number(self) -> float:
        """Product of the factors' condition numbers, from all their eigenvalues."""
        left, right = torch.linalg.eigvalsh(self.left), torch.linalg.eigvalsh(self.right)
        return float(left[-1] / left[0]) * float(right[-1] / right[0])

    def _matrix(self, x: Tensor) -> Tensor:
        return self.vector(x).reshape(*x.shape[:-1], self.rows, self.columns)
