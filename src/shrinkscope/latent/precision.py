"""Σ⁻¹ of layers as data give it: what it makes of a difference of weights, its trace and its rank."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from shrinkscope.errors import LatentError
from shrinkscope.latent.compensation import nearest_rows, removal_costs
from shrinkscope.latent.elimination import nearest_along, removal_keys


class Precision(ABC):
    """A symmetric positive semidefinite matrix Σ⁻¹ over the weights of one layer, possibly singular.

    Weights are flattened row by row, as torch does it. A structure of your own is one subclass.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of weights."""

    @abstractmethod
    def quadratic(self, x: Tensor) -> float:
        """xᵀΣ⁻¹x, never negative, for a float64 vector of shape (dim,)."""

    @abstractmethod
    def trace(self) -> float:
        """Sum of the eigenvalues."""

    @abstractmethod
    def rank(self) -> int:
        """Number of eigenvalues that are not zero up to rounding."""

    def diagonal(self) -> Tensor:
        """Its diagonal, float64 of shape (dim,).

        Raises:
            LatentError: If this structure does not know it.
        """
        raise LatentError(f"the diagonal of {_called(self)} is not known; use input moments, Fisher or K-FAC")

    def nearest(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """The weights y of least (x − y)ᵀ(Σ⁻¹ + λI)(x − y) among those that are zero where they are not kept.

        Args:
            x: Float64, shape (dim,).
            kept: Bool, the same shape.
            damping: λ as a multiple of the mean diagonal entry of each block.

        Raises:
            LatentError: If this structure cannot say, or is singular on the kept weights.
        """
        raise LatentError(f"{_called(self)} has no closed form for the kept weights; use input moments")

    def removal_costs(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """What (x − y)ᵀ(Σ⁻¹ + λI)(x − y) grows by when a kept weight of y goes too and the others make up for it.

        Args:
            x: Float64, shape (dim,): weights that are the nearest with those kept.
            kept: Bool, the same shape.
            damping: As for ``nearest``.

        Returns:
            One number a weight, zero where it is not kept.

        Raises:
            LatentError: As for ``nearest``.
        """
        raise LatentError(f"{_called(self)} has no closed form for the kept weights; use input moments")

    def removal_keys(self, x: Tensor, damping: float = 0.0) -> Tensor:
        """What each weight costs when its turn comes, the cheapest going first and the others making up for it.

        Args:
            x: Float64, shape (dim,).
            damping: As for ``nearest``.

        Returns:
            One number a weight; in the order of these numbers the weights go.

        Raises:
            LatentError: If this structure cannot say, or is singular.
        """
        raise LatentError(f"{_called(self)} has no closed form for the kept weights; use input moments")

    def nearest_along(self, x: Tensor, turns: Tensor, counts: Sequence[int], damping: float = 0.0) -> Tensor:
        """``nearest`` for sets of weights that shrink, all at once.

        Args:
            x: Float64, shape (dim,).
            turns: Whole numbers of the same shape: when a weight goes.
            counts: Numbers of turns; after c of them the weights of turn c and later are kept.
            damping: As for ``nearest``.

        Returns:
            Shape (counts, dim).

        Raises:
            LatentError: If this structure cannot say, or is singular.
        """
        raise LatentError(f"{_called(self)} has no closed form for the kept weights; use input moments")


class DiagonalPrecision(Precision):
    """Σ⁻¹ = diag(values).

    Args:
        values: Not negative, one a weight, of the weight's shape or flat.

    Raises:
        LatentError: If a value is negative or not finite.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = _finite(values, "the diagonal of a precision").reshape(-1)
        if bool((self.values < 0).any()):
            raise LatentError(
                f"the diagonal of a precision has an entry of {float(self.values.min()):.3g}; expected ≥ 0"
            )

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.values.numel()

    def quadratic(self, x: Tensor) -> float:
        """Σ vᵢxᵢ²."""
        return float((self.values * x.square()).sum())

    def trace(self) -> float:
        """Sum of the values."""
        return float(self.values.sum())

    def rank(self) -> int:
        """Number of positive values."""
        return int(torch.count_nonzero(self.values))

    def diagonal(self) -> Tensor:
        """The values."""
        return self.values

    def nearest(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """The kept weights as they are: they can make up for nothing."""
        return torch.where(kept, x, 0.0)

    def removal_costs(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """(vᵢ + λ)xᵢ² of the kept weights."""
        return torch.where(kept, (self.values + damping * self.values.mean()) * x.square(), 0.0)

    def removal_keys(self, x: Tensor, damping: float = 0.0) -> Tensor:
        """(vᵢ + λ)xᵢ²."""
        return self.removal_costs(x, torch.ones_like(x, dtype=torch.bool), damping)

    def nearest_along(self, x: Tensor, turns: Tensor, counts: Sequence[int], damping: float = 0.0) -> Tensor:
        """The kept weights as they are."""
        return torch.where(turns >= torch.tensor(counts).unsqueeze(1), x, 0.0)


class KroneckerPrecision(Precision):
    """Σ⁻¹ = diag over groups g of (left_g ⊗ diag over blocks b of right_gb), for weights of shape (outputs, columns).

    One group and one block are the plain left ⊗ right over a linear layer. A grouped convolution has a factor for each
    group of outputs; blocks of columns that are taken to be uncorrelated cost less memory, down to single columns.

    Args:
        right: Between the columns of one row of weights, shape (groups, blocks, width, width).
        outputs: Rows of weights in each group.
        left: Between the rows, shape (groups, outputs, outputs); the identity when None.

    Raises:
        LatentError: If the shapes do not fit, or an entry is not finite.
    """

    def __init__(self, right: Tensor, outputs: int, left: Tensor | None = None) -> None:
        self.right, self.outputs = _finite(right, "the right factor of a precision"), outputs
        self.left = None if left is None else _finite(left, "the left factor of a precision")
        if right.ndim != 4 or right.shape[2] != right.shape[3]:
            raise LatentError(f"right has shape {tuple(right.shape)}; expected (groups, blocks, width, width)")
        if left is not None and left.shape != (len(right), outputs, outputs):
            raise LatentError(f"left has shape {tuple(left.shape)}; expected {(len(right), outputs, outputs)}")

    @property
    def dim(self) -> int:
        """Number of weights."""
        groups, blocks, width, _ = self.right.shape
        return groups * self.outputs * blocks * width

    def quadratic(self, x: Tensor) -> float:
        """Σ_g tr(left_g X_g right_g X_gᵀ)."""
        groups, blocks, width, _ = self.right.shape
        rows = x.reshape(groups, self.outputs, blocks, width).transpose(1, 2)
        moved = rows @ self.right
        if self.left is not None:
            rows = self.left.unsqueeze(1) @ rows
        # Rounding can leave less than nothing where the form vanishes.
        return max(0.0, float((rows * moved).sum()))

    def trace(self) -> float:
        """Σ_g tr(left_g) tr(right_g)."""
        right = self.right.diagonal(dim1=-2, dim2=-1).sum(dim=(1, 2))
        left = self.outputs if self.left is None else self.left.diagonal(dim1=-2, dim2=-1).sum(dim=1)
        return float((right * left).sum())

    def rank(self) -> int:
        """Sum over the groups of the product of the factors' ranks."""
        right = _ranks(self.right).sum(dim=1)
        return int((right * (self.outputs if self.left is None else _ranks(self.left))).sum())

    def diagonal(self) -> Tensor:
        """The products of the factors' diagonals."""
        columns = self.right.diagonal(dim1=-2, dim2=-1).flatten(1).unsqueeze(1)
        if self.left is None:
            return columns.expand(-1, self.outputs, -1).reshape(-1)
        return (self.left.diagonal(dim1=-2, dim2=-1).unsqueeze(-1) * columns).reshape(-1)

    def nearest(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """Row by row and block by block; only where the rows are uncorrelated (no left factor)."""
        return self._by_rows(nearest_rows, [x, kept], damping)

    def removal_costs(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """Row by row and block by block; only where the rows are uncorrelated (no left factor)."""
        return self._by_rows(removal_costs, [x, kept], damping)

    def removal_keys(self, x: Tensor, damping: float = 0.0) -> Tensor:
        """Row by row and block by block; only where the rows are uncorrelated (no left factor)."""
        return self._by_rows(removal_keys, [x], damping)

    def nearest_along(self, x: Tensor, turns: Tensor, counts: Sequence[int], damping: float = 0.0) -> Tensor:
        """Row by row and block by block; only where the rows are uncorrelated (no left factor)."""

        def along(rows: Tensor, when: Tensor, matrix: Tensor) -> Tensor:
            return nearest_along(rows, when, counts, matrix)

        return self._by_rows(along, [x, turns], damping)

    def _by_rows(self, function: Callable[..., Tensor], given: Sequence[Tensor], damping: float) -> Tensor:
        """What a function of rows, one of each tensor, and of the matrix between their columns makes of every block."""
        if self.left is not None:
            raise LatentError(
                "Σ⁻¹ couples the rows of a weight (K-FAC), so they have no closed form; use input moments"
            )
        groups, blocks, width, _ = self.right.shape
        rows = [values.reshape(groups, self.outputs, blocks, width) for values in given]
        damped_by, one = damping * self._levels(), torch.eye(width, dtype=torch.float64)
        found = []
        for group in range(groups):
            for block in range(blocks):
                damped = self.right[group, block] + damped_by[group, block] * one
                found.append(function(*(values[group, :, block] for values in rows), damped))
        # (…, outputs, width) for each group and block, put into (…, groups, outputs, blocks, width).
        whole = torch.stack(found, dim=-3).unflatten(-3, (groups, blocks)).transpose(-3, -2)
        return whole.reshape(*whole.shape[:-4], -1)

    def _levels(self) -> Tensor:
        """Mean of the diagonal of each group and block, which damping is a multiple of.

        A channel that is always zero has a block of zeros: its weights may be anything. The mean of all blocks makes
        the least of them go first, and leaves the others as they are.
        """
        means = self.right.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
        return torch.where(means > 0, means, means.mean() or 1.0)


def _called(precision: Precision) -> str:
    return f"a {type(precision).__name__}"


def _finite(values: Tensor, what: str) -> Tensor:
    values = values.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise LatentError(f"{what} has infinite or NaN entries; repair the network or its inputs")
    return values


def _ranks(matrices: Tensor) -> Tensor:
    """Ranks of symmetric matrices of shape (..., n, n)."""
    eigenvalues = torch.linalg.eigvalsh(matrices)
    # Sums of products are symmetric to rounding, which moves an eigenvalue by at most about n ε of the largest.
    tolerance = matrices.shape[-1] * torch.finfo(torch.float64).eps * eigenvalues[..., -1:].clamp(min=0)
    return (eigenvalues > tolerance).sum(dim=-1)
