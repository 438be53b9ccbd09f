"""Views whose values are computed when they are read, by rows or by elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.kernel import type_name
from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

Elements = Callable[[int, int], "Tensor"]
"""Computes a range of elements, or of rows."""

_BLOCK = 1 << 18
"""Elements that are computed at once: unpacking makes several tensors of this size, which fit the second cache."""


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that is computed window by window, a window block by block.

    Attributes:
        shape: Its shape.
        type: Name of its type.
        elements: Computes the elements [start, stop) of the flattened tensor, 1-D.
        step: Elements of a block; blocks begin at its multiples.
    """

    shape: tuple[int, ...]
    type: str
    elements: Callable[[int, int], Tensor]
    step: int = _BLOCK

    def window(self, start: int, stop: int) -> Tensor:
        """The elements [start, stop); beside them only one block is held."""
        found = torch.empty(max(stop - start, 0), dtype=getattr(torch, self.type))
        begin = start
        while begin < stop:
            end = min(begin - begin % self.step + self.step, stop)
            found[begin - start : end - start] = self.elements(begin, end)
            begin = end
        return found

    def load(self) -> Tensor:
        """The whole tensor; beside it only one block is held."""
        return self.window(0, math.prod(self.shape)).reshape(self.shape)


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Elements that are computed by whole rows, where a row is everything behind the first dimension.

    Attributes:
        width: Elements of a row.
        rows: Computes the rows [first, last), shape (last − first, width).
    """

    width: int
    rows: Callable[[int, int], Tensor]

    def elements(self, start: int, stop: int) -> Tensor:
        """The elements [start, stop); computes the rows that they lie in, and holds these only."""
        first = start // self.width
        found = self.rows(first, -(-stop // self.width)).reshape(-1)
        return found[start - first * self.width : stop - first * self.width]


def view_by_elements(
    name: str,
    shape: tuple[int, ...],
    dtype: torch.dtype | str,
    elements: Callable[[int, int], Tensor],
    step: int = _BLOCK,
) -> TensorView:
    """A view of values that are computed for any range of elements.

    Args:
        name: Its name.
        shape: Its shape.
        dtype: Type of the values, or its name.
        elements: Computes the elements [start, stop) of the flattened tensor, 1-D.
        step: Elements that are computed at once.
    """
    windows = Windows(shape=shape, type=type_name(dtype), elements=elements, step=step)
    role = role_from_name(name, len(shape))
    return TensorView(
        name=name, shape=shape, type=type_name(dtype), role=role, load=windows.load, window=windows.window
    )


def view_by_rows(name: str, shape: tuple[int, ...], dtype: torch.dtype | str, rows: Elements) -> TensorView:
    """A view of values that are computed row by row.

    Args:
        name: Its name.
        shape: Its shape, at least one dimension; all but the last are counted as rows.
        dtype: Type of the values, or its name.
        rows: Computes the rows [first, last), shape (last − first, size of the last dimension).
    """
    width = max(shape[-1], 1)
    # Blocks of whole rows, so that no row is computed for two of them.
    return view_by_elements(name, shape, dtype, Rows(width=width, rows=rows).elements, max(1, _BLOCK // width) * width)
