"""Tensors that are products of small ones, read in blocks of rows: factorised layers and adapters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shrinkscope.deferred import torch
from shrinkscope.weights.mapping.lazy import common_dtype, lazy, stored_numbers
from shrinkscope.weights.role import Role
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor


def product(
    name: str,
    shape: tuple[int, ...],
    role: Role,
    left: TensorView,
    right: TensorView,
    *,
    diagonal: TensorView | None = None,
    flip: bool = False,
    scale: float = 1.0,
) -> TensorView:
    """scale·U·diag(S)·V as a tensor, multiplied in float64 and rounded to no less than float32.

    Args:
        name: Its name.
        shape: Its shape; of a convolution, the first dimension is that of U and the others are those of V.
        role: What it does in the network.
        left: U, read as a matrix of shape (rows, rank).
        right: V, read as a matrix of shape (rank, columns); held whole while a window is computed.
        diagonal: S of shape (rank,); ones when None.
        flip: Whether V is stored as (columns, rank).
        scale: A number that multiplies everything.

    Returns:
        The product; its ``stored`` counts the factors' numbers.
    """
    factors = [left, right] + ([] if diagonal is None else [diagonal])
    rank = left.parameters // max(1, left.shape[0])
    columns = math.prod(shape) // max(1, left.shape[0])

    def window(start: int, stop: int) -> Tensor:
        first, last = start // columns, -(-stop // columns)
        rows = left.piece(first * rank, last * rank).reshape(-1, rank).to(torch.float64)
        if diagonal is not None:
            rows = rows * diagonal.read().reshape(-1).to(torch.float64)
        other = right.read().to(torch.float64)
        other = other.reshape(columns, rank).T if flip else other.reshape(rank, columns)
        out = (rows @ other).mul_(scale)
        return out.view(-1)[start - first * columns : stop - first * columns]

    dtype = torch.promote_types(common_dtype(factors), torch.float32)
    return lazy(name, shape, dtype, role, window, stored=stored_numbers(factors))


def added(base: TensorView, change: TensorView) -> TensorView:
    """The sum of two tensors of one shape, added in float64, under the first one's name; both are counted as stored."""
    dtype = torch.promote_types(base.dtype, change.dtype)

    def window(start: int, stop: int) -> Tensor:
        return base.piece(start, stop).to(torch.float64) + change.piece(start, stop).to(torch.float64)

    return lazy(base.name, base.shape, dtype, base.role, window, stored=stored_numbers([base, change]))
