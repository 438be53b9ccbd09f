"""Σ⁻¹ of layers as data give it: what it makes of a difference of weights, its trace and its rank."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from shrinkscope.errors import LatentError


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


class PermutedPrecision(Precision):
    """Σ⁻¹ over weights that are stored in another order than the one its structure is written in.

    Args:
        precision: The structure.
        shape: Shape in which the weights are stored.
        order: The dimensions of ``shape`` in the order that ``precision`` takes them.

    Raises:
        LatentError: If the shape does not hold its weights, or the order is none of its dimensions.
    """

    def __init__(self, precision: Precision, shape: tuple[int, ...], order: tuple[int, ...]) -> None:
        self.precision, self.shape, self.order = precision, shape, order
        if sorted(order) != [*range(len(shape))]:
            raise LatentError(f"order = {order} is no order of the {len(shape)} dimensions of {shape}")
        if math.prod(shape) != precision.dim:
            raise LatentError(f"weights of shape {shape} do not fit a precision of {precision.dim} weights")

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.precision.dim

    def quadratic(self, x: Tensor) -> float:
        """xᵀΣ⁻¹x of weights as they are stored."""
        return self.precision.quadratic(x.reshape(self.shape).permute(self.order).reshape(-1))

    def trace(self) -> float:
        """That of the structure."""
        return self.precision.trace()

    def rank(self) -> int:
        """That of the structure."""
        return self.precision.rank()


class Precisions(Mapping[str, Precision]):
    """Σ⁻¹ of each layer by the name of its weight, and why other layers have none.

    Args:
        name: Ending of the latents' columns, for example ``"input"``.
        layers: Name of a weight → its precision; a tied weight under each of its names.
        absent: Name of a tensor → why it has none.
        description: What Σ⁻¹ is, in words, for records.
    """

    def __init__(self, name: str, layers: Mapping[str, Precision], absent: Mapping[str, str], description: str) -> None:
        self.name, self.description = name, description
        self._layers, self._absent = dict(layers), dict(absent)

    def __getitem__(self, layer: str) -> Precision:
        return self._layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"Precisions({self.name!r}, {self.description}, {len(self)} layers)"

    def of(self, layer: str, dim: int) -> Precision:
        """The precision of a layer.

        Args:
            layer: Name of its weight.
            dim: Its number of weights.

        Raises:
            LatentError: If there is none, or it is that of a layer of another size; the message is the reason.
        """
        if layer not in self._layers:
            raise LatentError(self._absent.get(layer, f"no Σ⁻¹ was gathered for {layer}"))
        found = self._layers[layer]
        if found.dim != dim:
            raise LatentError(f"Σ⁻¹ of {layer} is for {found.dim} weights and the layer has {dim}; gather it anew")
        return found


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
