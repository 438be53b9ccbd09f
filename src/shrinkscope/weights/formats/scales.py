"""Scales and zero points of quantised weights: one for a tensor, for each row, for groups of a row, or for blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.formats.bits import demand
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

Strategy = Literal["tensor", "channel", "group", "block"]

_BLOCK = 128
"""Size of the blocks of fp8 weights where the file does not say it; every public model uses it."""


class Scales(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that each apply to a part of a matrix.

    Attributes:
        strategy: To which part.
        values: The numbers, shape (1, 1), (rows, 1), (rows, groups) or (blocks down, blocks across).
        columns: Columns of the matrix.
        block: Rows and columns of a block.
        order: Group of each column where they are not consecutive.
    """

    strategy: Strategy
    values: Tensor
    columns: int
    block: tuple[int, int] = (1, 1)
    order: Tensor | None = None

    @staticmethod
    def of(
        values: Tensor,
        shape: tuple[int, int],
        *,
        block: tuple[int, int] | None = None,
        order: Tensor | None = None,
    ) -> "Scales":
        """The strategy that the shape of the numbers tells.

        Args:
            values: The numbers as stored.
            shape: Shape of the matrix.
            block: Size of a block, where the file says it.
            order: Group of each column, where it is stored.

        Raises:
            WeightsError: If they fit no strategy.
        """
        rows, columns = shape
        stored = tuple(values.shape)
        if values.numel() == 1:
            return Scales(strategy="tensor", values=values.reshape(1, 1), columns=columns)
        if stored in ((rows,), (rows, 1)):
            return Scales(strategy="channel", values=values.reshape(rows, 1), columns=columns)
        demand(len(stored) == 2 and 0 < stored[1] <= columns, f"scales of {list(stored)} for {list(shape)} weights")
        if stored[0] == rows and block is None:
            if order is not None:
                fits = order.numel() == columns and int(order.min()) >= 0 and int(order.max()) < stored[1]
                demand(fits, "group indices that lead to no scale")
            return Scales(strategy="group", values=values, columns=columns, order=order)
        down, across = block or (_BLOCK, _BLOCK)
        demand(down > 0 and across > 0, "blocks without elements")
        demand(
            stored == (-(-rows // down), -(-columns // across)), f"scales of {list(stored)} for {list(shape)} weights"
        )
        return Scales(strategy="block", values=values, columns=columns, block=(down, across))

    def rows(self, first: int, last: int, dtype: torch.dtype) -> Tensor:
        """The numbers that apply to the rows [first, last), broadcastable to (last − first, columns)."""
        if self.strategy == "tensor":
            return self.values.to(dtype)
        if self.strategy == "block":
            down, across = self.block
            lines = torch.arange(first, last) // down
            return self.values[lines].to(dtype).repeat_interleave(across, dim=1)[:, : self.columns]
        part = self.values[first:last].to(dtype)
        if self.strategy == "channel":
            return part
        if self.order is not None:
            return part[:, self.order]
        return part.repeat_interleave(-(-self.columns // part.shape[1]), dim=1)[:, : self.columns]


def flat(view: TensorView) -> Tensor:
    """A small stored tensor as one of two dimensions: all but the last are counted as rows."""
    tensor = view.read()
    return tensor.reshape(-1, tensor.shape[-1]) if tensor.dim() > 2 else tensor
