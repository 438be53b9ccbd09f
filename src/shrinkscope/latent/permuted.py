"""Σ⁻¹ over weights that are stored in another order than the one its structure is written in."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from shrinkscope.errors import LatentError
from shrinkscope.latent.precision import Precision


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
        return self.precision.quadratic(self._permuted(x))

    def trace(self) -> float:
        """That of the structure."""
        return self.precision.trace()

    def rank(self) -> int:
        """That of the structure."""
        return self.precision.rank()

    def diagonal(self) -> Tensor:
        """That of the structure, in the order of storage."""
        return self._stored(self.precision.diagonal())

    def nearest(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """Those of the structure, in the order of storage."""
        return self._stored(self.precision.nearest(self._permuted(x), self._permuted(kept), damping))

    def removal_costs(self, x: Tensor, kept: Tensor, damping: float = 0.0) -> Tensor:
        """Those of the structure, in the order of storage."""
        return self._stored(self.precision.removal_costs(self._permuted(x), self._permuted(kept), damping))

    def removal_keys(self, x: Tensor, damping: float = 0.0) -> Tensor:
        """Those of the structure, in the order of storage."""
        return self._stored(self.precision.removal_keys(self._permuted(x), damping))

    def nearest_along(self, x: Tensor, turns: Tensor, counts: Sequence[int], damping: float = 0.0) -> Tensor:
        """Those of the structure, in the order of storage."""
        found = self.precision.nearest_along(self._permuted(x), self._permuted(turns), counts, damping)
        return torch.stack([self._stored(weights) for weights in found])

    def _permuted(self, stored: Tensor) -> Tensor:
        return stored.reshape(self.shape).permute(self.order).reshape(-1)

    def _stored(self, permuted: Tensor) -> Tensor:
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return permuted.reshape([self.shape[k] for k in self.order]).permute(back).reshape(-1)
