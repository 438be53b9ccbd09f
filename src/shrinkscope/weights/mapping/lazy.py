"""Tensors made of other tensors, read in windows: rows put together, transposed, given another name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.kernel import type_name
from shrinkscope.weights.role import Role
from shrinkscope.weights.view import CHUNK, TensorView, Weights

if TYPE_CHECKING:
    from torch import Tensor


class Run(msgspec.Struct, frozen=True):
    """The elements [start, stop) of a flattened tensor."""

    view: TensorView
    start: int
    stop: int


def whole(view: TensorView) -> Run:
    """All elements of a tensor."""
    return Run(view, 0, view.parameters)


def lazy(
    name: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    role: Role,
    window: Callable[[int, int], Tensor],
    stored: int | None = None,
) -> TensorView:
    """A tensor known by a function that gives its elements [start, stop), row-major.

    Args:
        name: Its name.
        shape: Its shape.
        dtype: The type of its values; what ``window`` gives is converted to it.
        role: What it does in the network.
        window: Reads elements; not called for more than is asked of the view.
        stored: Numbers kept for it when these are not its elements.
    """
    total = torch.Size(shape).numel()

    def read(start: int, stop: int) -> Tensor:
        return window(start, stop).to(dtype).reshape(-1) if stop > start else torch.empty(0, dtype=dtype)

    return TensorView(
        name=name,
        shape=shape,
        type=type_name(dtype),
        role=role,
        load=lambda: read(0, total).reshape(shape),
        window=read,
        stored=stored,
    )


def stored_numbers(views: Iterable[TensorView]) -> int:
    """Numbers that a network keeps for these tensors."""
    return sum(view.parameters if view.stored is None else view.stored for view in views)


def renamed(view: TensorView, name: str) -> TensorView:
    """The same tensor under another name."""
    return view if view.name == name else msgspec.structs.replace(view, name=name)


def replaced(weights: Weights, views: Iterable[TensorView]) -> Weights:
    """A network with other tensors, from the same place."""
    same = {"origin": weights.origin, "tied": weights.tied, "unreadable": weights.unreadable, "place": weights.place}
    return Weights(list(views), **same)


def present(weights: Weights, name: str) -> bool:
    """Whether the network has a tensor of this name, be it a tied one."""
    return name in weights or name in weights.tied


def common_dtype(views: Sequence[TensorView]) -> torch.dtype:
    """The type that holds the values of all of them."""
    return reduce(torch.promote_types, (view.dtype for view in views))


def stacked(name: str, shape: tuple[int, ...], role: Role, runs: Sequence[Run]) -> TensorView:
    """The elements of several runs one after another, as one tensor.

    Args:
        name: Its name.
        shape: Its shape, of as many elements as the runs have together.
        role: What it does in the network.
        runs: Pieces of other tensors, in order.
    """
    ends = list(accumulate(run.stop - run.start for run in runs))

    def window(start: int, stop: int) -> Tensor:
        pieces = []
        while start < stop:
            index = bisect_right(ends, start)
            run, end = runs[index], min(stop, ends[index])
            shift = run.stop - ends[index]
            pieces.append(run.view.piece(start + shift, end + shift))
            start = end
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    return lazy(name, shape, common_dtype([run.view for run in runs]), role, window)


def transposed(view: TensorView) -> TensorView:
    """The tensor with its last two dimensions exchanged.

    A window of it is gathered from blocks of rows of the stored tensor, so that no more than the window and one block
    are in memory; the price is that each window reads its matrix once.

    Args:
        view: A matrix, or a stack of matrices.
    """
    *stack, rows, columns = view.shape
    size = rows * columns

    def window(start: int, stop: int) -> Tensor:
        pieces = []
        while start < stop:
            matrix, within = divmod(start, size)
            end = min(stop - matrix * size, size)
            pieces.append(_columns(view, matrix * size, within, end))
            start = matrix * size + end
        return torch.cat(pieces)

    def _columns(view: TensorView, offset: int, start: int, stop: int) -> Tensor:
        """Elements [start, stop) of one transposed matrix that is stored from ``offset`` on."""
        first, last = start // rows, -(-stop // rows)
        out = torch.empty(last - first, rows, dtype=view.dtype)
        for low, high in blocks(rows, columns):
            block = view.piece(offset + low * columns, offset + high * columns).reshape(high - low, columns)
            out[:, low:high] = block[:, first:last].T
        return out.view(-1)[start - first * rows : stop - first * rows]

    return lazy(view.name, (*stack, columns, rows), view.dtype, view.role, window, view.stored)


def blocks(rows: int, width: int, limit: int = CHUNK) -> Iterable[tuple[int, int]]:
    """Ranges of rows of at most ``limit`` elements each, and of one row at least."""
    step = max(1, limit // max(1, width))
    edges = [*range(0, rows, step), rows] if rows else []
    return pairwise(edges)
