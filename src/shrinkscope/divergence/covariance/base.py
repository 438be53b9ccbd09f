"""What every covariance offers: its action on vectors, its log-determinant, and how far from singular it is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.errors import DivergenceError

DENSE_LIMIT = 4096
"""Largest dimension for which a d × d matrix is formed: 128 MiB in float64, a few seconds for its eigenvalues."""

_LANCZOS_FROM = 64


class Covariance(ABC):
    """A symmetric positive definite matrix Σ of size dim × dim, known by what it does to vectors, in float64.

    A new structure is one subclass with the six abstract members. `whiten`, `root`, `dense` and `condition_number`
    then work through dense matrices up to ``DENSE_LIMIT`` dimensions; override them where the structure knows better.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of rows of Σ."""

    @abstractmethod
    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σ⁻¹x for each vector of the batch."""

    @abstractmethod
    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σx for each vector of the batch."""

    @abstractmethod
    def logdet(self) -> float:
        """The logarithm of |Σ|, summed from logarithms, so that it neither overflows nor underflows."""

    @abstractmethod
    def trace(self) -> float:
        """Sum of the variances."""

    @abstractmethod
    def diagonal(self) -> Float[Tensor, " dim"]:
        """The variances, in order."""

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Wx for a square W with WᵀW = Σ⁻¹, so that ‖Wx‖² = xᵀΣ⁻¹x."""
        factor = torch.linalg.cholesky(self.dense())
        return torch.linalg.solve_triangular(factor, self.vector(x).unsqueeze(-1), upper=False).squeeze(-1)

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """W⁻¹z, the inverse of `whiten`: standard normal z becomes a draw from N(0, Σ)."""
        return self.vector(z) @ torch.linalg.cholesky(self.dense()).mT

    def quadratic(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """xᵀΣ⁻¹x for each vector of the batch: a sum of squares, hence never negative."""
        return self.whiten(x).square().sum(-1)

    def dense(self) -> Float[Tensor, "dim dim"]:
        """Σ as a matrix, for dimensions up to ``DENSE_LIMIT``.

        Raises:
            DivergenceError: If the matrix would be larger than that.
        """
        refuse_large(self.dim, "a dense covariance")
        return self.matmul(torch.eye(self.dim, dtype=torch.float64))

    def condition_number(self) -> float:
        """Largest eigenvalue of Σ over the smallest: an estimate by Lanczos iterations on Σ and Σ⁻¹."""
        if self.dim <= _LANCZOS_FROM:
            eigenvalues = torch.linalg.eigvalsh(self.dense())
            return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else math.inf
        return _largest_eigenvalue(self.matmul, self.dim) * _largest_eigenvalue(self.solve, self.dim)

    def vector(self, x: Tensor) -> Tensor:
        """The vector in float64, after a check that its last dimension is that of Σ.

        Raises:
            DivergenceError: If it is not.
        """
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise DivergenceError(
                f"a vector of shape {tuple(x.shape)} does not fit a covariance of dimension {self.dim}; "
                f"expected (*batch, {self.dim})"
            )
        return x.to(torch.float64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"


def refuse_large(dim: int, what: str) -> None:
    """Raise, with the memory that it would take, where a dim × dim matrix is more than the package forms.

    Raises:
        DivergenceError: If dim exceeds ``DENSE_LIMIT``.
    """
    if dim > DENSE_LIMIT:
        raise DivergenceError(
            f"{what} of dimension {dim} needs a matrix of {8 * dim * dim:,} bytes; at most {DENSE_LIMIT} dimensions "
            f"are formed densely, use a structured covariance instead"
        )


def positive_vector(values: Tensor, what: str) -> Float[Tensor, " dim"]:
    """The values in float64, after a check that they are a vector of finite positive numbers.

    Raises:
        DivergenceError: If they are not.
    """
    if values.ndim != 1 or values.numel() == 0:
        raise DivergenceError(f"{what} have shape {tuple(values.shape)}; expected a vector with at least one entry")
    values = values.detach().to(torch.float64)
    low, high = values.aminmax()  # one pass without temporaries of the vector's size; NaN goes through to both
    if not (low > 0 and high < math.inf):
        wrong = ~(torch.isfinite(values) & (values > 0))
        first = int(wrong.nonzero()[0])
        raise DivergenceError(
            f"{what}: {int(wrong.sum())} of {values.numel()} are not finite and positive, the first is number {first} "
            f"({float(values[first]):g}); the covariance is singular or indefinite (condition number "
            f"{_condition_of(values):g}); add damping"
        )
    return values


def _condition_of(eigenvalues: Tensor) -> float:
    smallest = float(eigenvalues.min())
    return float(eigenvalues.max()) / smallest if smallest > 0 else math.inf


def _largest_eigenvalue(action: Callable[[Tensor], Tensor], dim: int) -> float:
    def apply(x: np.ndarray) -> np.ndarray:
        return action(torch.from_numpy(np.asarray(x, dtype=np.float64).reshape(-1))).numpy()

    # A fixed start keeps the estimate reproducible; Gaussian entries are orthogonal to no eigenvector.
    start = np.random.default_rng(0).standard_normal(dim)
    from scipy.sparse.linalg import LinearOperator, eigsh  # only here, so that a comparison starts without it

    operator = LinearOperator((dim, dim), matvec=apply, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    return float(eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
