"""Views whose values are computed when they are read, by rows or by elements."""

import math
from collections.abc import Callable

import msgspec
import torch
from torch import Tensor

from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import CHUNK, TensorView


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that is computed window by window.

    Attributes:
        shape: Its shape.
        dtype: Its type.
        elements: Computes the elements [start, stop) of the flattened tensor, 1-D.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    elements: Callable[[int, int], Tensor]

    def window(self, start: int, stop: int) -> Tensor:
        """The elements [start, stop)."""
        return self.elements(start, stop) if stop > start else torch.empty(0, dtype=self.dtype)

    def load(self) -> Tensor:
        """The whole tensor; beside it only one window is held."""
        whole = torch.empty(math.prod(self.shape), dtype=self.dtype)
        for start in range(0, whole.numel(), CHUNK):
            stop = min(start + CHUNK, whole.numel())
            whole[start:stop] = self.elements(start, stop)
        return whole.reshape(self.shape)


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
    name: str, shape: tuple[int, ...], dtype: torch.dtype, elements: Callable[[int, int], Tensor]
) -> TensorView:
    """A view of values that are computed for any range of elements.

    Args:
        name: Its name.
        shape: Its shape.
        dtype: Type of the values.
        elements: Computes the elements [start, stop) of the flattened tensor, 1-D.
    """
    windows = Windows(shape=shape, dtype=dtype, elements=elements)
    role = role_from_name(name, len(shape))
    return TensorView(name=name, shape=shape, dtype=dtype, role=role, load=windows.load, window=windows.window)


def view_by_rows(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, rows: Callable[[int, int], Tensor]
) -> TensorView:
    """A view of values that are computed row by row.

    Args:
        name: Its name.
        shape: Its shape, at least one dimension; all but the last are counted as rows.
        dtype: Type of the values.
        rows: Computes the rows [first, last), shape (last − first, size of the last dimension).
    """
    return view_by_elements(name, shape, dtype, Rows(width=max(shape[-1], 1), rows=rows).elements)
