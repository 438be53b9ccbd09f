"""Channels of a tensor: read as vectors for matching, and put back in their places in the dense network's shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shrinkscope.deferred import torch
from shrinkscope.weights.mapping.lazy import blocks, lazy, stored_numbers
from shrinkscope.weights.mapping.matching import Channels
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor


def channels_of(view: TensorView, axis: int, others: Tensor | None = None) -> Channels:
    """The channels of a tensor along one of its first two dimensions.

    Args:
        view: A tensor of two dimensions or more.
        axis: 0 for output channels, 1 for input channels (the reverse in a transposed convolution).
        others: Which channels along the other of the two dimensions take part, in this order; all by default.
    """
    rest = math.prod(view.shape[2:])
    other = view.shape[1 - axis] if others is None else len(others)
    read = _outer if axis == 0 else _inner
    return Channels(
        count=view.shape[axis],
        width=other * rest,
        read=lambda low, high: torch.nan_to_num(read(view, low, high, others)),
    )


def _outer(view: TensorView, low: int, high: int, others: Tensor | None) -> Tensor:
    row = math.prod(view.shape[1:])
    block = view.piece(low * row, high * row).to(torch.float32).reshape(high - low, view.shape[1], -1)
    return (block if others is None else block[:, others]).reshape(high - low, -1)


def _inner(view: TensorView, low: int, high: int, others: Tensor | None) -> Tensor:
    rows, columns = view.shape[:2]
    row = math.prod(view.shape[1:])
    out = torch.empty(high - low, rows, row // columns)
    for first, last in blocks(rows, row):
        block = view.piece(first * row, last * row).to(torch.float32).reshape(last - first, columns, -1)
        out[:, first:last] = block[:, low:high].transpose(0, 1)
    return (out if others is None else out[:, others]).reshape(high - low, -1)


def in_place(view: TensorView, like: TensorView, kept: tuple[Tensor | None, Tensor | None]) -> TensorView:
    """A narrower tensor in the dense one's shape: kept channels in their places, zeros where channels were removed.

    Args:
        view: The narrower tensor.
        like: The dense one, of as many dimensions; sizes of dimensions beyond the second agree.
        kept: Index in the dense tensor of every channel along dimensions 0 and 1; None where none was removed.
    """
    # A vector is a matrix of one column.
    (size, columns, *_), (_, narrow, *_) = (*like.shape, 1), (*view.shape, 1)
    rest = math.prod(like.shape[2:])
    row, width = narrow * rest, columns * rest
    source = torch.arange(size)
    if kept[0] is not None:
        source = torch.full((size,), -1).index_put((kept[0],), torch.arange(len(kept[0])))

    def window(start: int, stop: int) -> Tensor:
        first, last = start // width, -(-stop // width)
        wanted = source[first:last]
        out = torch.zeros(last - first, columns, rest, dtype=view.dtype)
        there = torch.nonzero(wanted >= 0).reshape(-1)
        block = _some_rows(view, wanted[there], row).reshape(len(there), narrow, rest)
        if kept[1] is None:
            out[there] = block
        else:
            out[there[:, None], kept[1]] = block
        return out.view(-1)[start - first * width : stop - first * width]

    return lazy(like.name, like.shape, view.dtype, like.role, window, stored=stored_numbers([view]))


def _some_rows(view: TensorView, rows: Tensor, width: int) -> Tensor:
    """Chosen rows of a tensor, those that lie together read together."""
    out = torch.empty(len(rows), width, dtype=view.dtype)
    if not len(rows):
        return out
    ordered, places = rows.sort()
    breaks = torch.nonzero(ordered[1:] - ordered[:-1] != 1).reshape(-1) + 1
    for run, place in zip(ordered.tensor_split(breaks), places.tensor_split(breaks), strict=True):
        low, high = int(run[0]), int(run[-1]) + 1
        out[place] = view.piece(low * width, high * width).reshape(high - low, width)
    return out
