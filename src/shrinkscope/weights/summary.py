"""One pass over a pair of tensors that gathers every statistic the latents ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.kernel import Numbers, as_tensor
from shrinkscope.weights.groups import GroupSums
from shrinkscope.weights.moments import PairMoments
from shrinkscope.weights.pairing import TensorPair
from shrinkscope.weights.structure import Structure
from shrinkscope.weights.view import CHUNK, TensorView

if TYPE_CHECKING:
    from torch import Tensor

_MOST_THREADS = 8  # unless more are asked for
_AHEAD = 2  # chunks a thread that wait to be merged: more would hold memory, fewer would let threads wait


class PairSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pair of tensors after one pass.

    Attributes:
        pair: The tensors themselves, for a latent that needs Δ element by element.
        moments: Counts and sums.
        groups: Number of groups asked for → sums over them.
        dense_values, compressed_values: Distinct values and patterns of each side; None when not asked for.
    """

    pair: TensorPair
    moments: PairMoments
    groups: Mapping[int, GroupSums]
    dense_values: Structure | None = None
    compressed_values: Structure | None = None

    def delta(self) -> Tensor:
        """Δ = ω − ω̃ flattened, in float64 on the CPU: a reading that holds a whole tensor in memory."""
        # Not in place: a float64 tensor converts to itself, and the network's own weights must not change.
        return _float64(self.pair.dense.read()) - _float64(self.pair.compressed.read())

    def dense(self) -> Tensor:
        """ω flattened, in float64 on the CPU; not to be changed, it may be the network's own memory."""
        return _float64(self.pair.dense.read())


def _float64(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).to("cpu", torch.float64)


class Partial(msgspec.Struct, frozen=True):
    """What one chunk adds; parts are merged in the order of the chunks, so that no thread or machine changes a digit.

    Attributes:
        moments: Counts and sums.
        groups: Number of groups asked for → sums over them.
        dense, compressed: Distinct values and patterns of each side; None when not asked for.
    """

    moments: PairMoments
    groups: dict[int, GroupSums]
    dense: Structure | None
    compressed: Structure | None

    @staticmethod
    def nothing(pair: TensorPair, groups: Iterable[int] = (), *, values: bool = False) -> "Partial":
        """Of a pair of tensors of which nothing has been seen.

        Args:
            pair: The tensors.
            groups: Numbers of groups whose means are wanted.
            values: Whether distinct values and N:M patterns are wanted.
        """
        seen = Structure.nothing(pair.dense.shape) if values else None
        empty = {count: GroupSums.empty(pair.dense.parameters, count) for count in groups}
        return Partial(PairMoments(), empty, seen, seen)

    def merge(self, other: "Partial") -> "Partial":
        """Both together, where the other one's elements come next."""
        return Partial(
            self.moments.merge(other.moments),
            {count: sums.merge(other.groups[count]) for count, sums in self.groups.items()},
            None if self.dense is None or other.dense is None else self.dense.merge(other.dense),
            None if self.compressed is None or other.compressed is None else self.compressed.merge(other.compressed),
        )


def summarise(
    pair: TensorPair,
    groups: Iterable[int] = (),
    *,
    exact: bool = True,
    values: bool = False,
    threads: int | None = None,
    device: str | torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> PairSummary:
    """Read a pair of tensors once, in chunks, and keep its statistics.

    Args:
        pair: Two tensors of one shape.
        groups: Numbers of groups whose means are wanted besides the moments.
        exact: Float64 sums throughout; otherwise those of 16-bit types may be off by 1e-7, and are faster.
        values: Whether distinct values and N:M patterns are wanted.
        threads: Threads that read and sum, the processor's cores by default, up to 8. The result does not depend on
            it. Windows of a view are called from all of them.
        device: Where PyTorch takes the sums, ``"cuda"`` for example; on the CPU by default.
        progress: Called with the number of elements of each finished chunk.

    Returns:
        The summary; it merges nothing further, and holds no element of the tensors.
    """
    total = pair.dense.parameters
    done = Partial.nothing(pair, groups, values=values)
    starts = range(0, total, CHUNK)
    for start, partial in zip(
        starts, partials(pair, starts, done, exact=exact, threads=threads, device=device), strict=True
    ):
        done = done.merge(partial)
        if progress is not None:
            progress(min(CHUNK, total - start))
    return summary_of(pair, done)


def summary_of(pair: TensorPair, done: Partial) -> PairSummary:
    """What is known of a pair of tensors when all chunks are merged.

    Args:
        pair: The tensors.
        done: The statistics of all their chunks.
    """
    return PairSummary(
        pair=pair, moments=done.moments, groups=done.groups, dense_values=done.dense, compressed_values=done.compressed
    )


def partials(
    pair: TensorPair,
    starts: range,
    nothing: Partial,
    *,
    exact: bool = True,
    threads: int | None = None,
    device: str | torch.device | None = None,
) -> Iterator[Partial]:
    """The statistics of some chunks of a pair of tensors, one after another in their order.

    Args:
        pair: Two tensors of one shape.
        starts: First elements of the chunks.
        nothing: ``Partial.nothing`` of the pair: what is wanted.
        exact: As in ``summarise``.
        threads: As in ``summarise``.
        device: As in ``summarise``.

    Yields:
        The statistics of each chunk alone.
    """
    total = pair.dense.parameters
    read_dense, read_compressed = pieces_of(pair.dense), pieces_of(pair.compressed)
    # What has been given up in one chunk need not be looked for in others.
    sides = {"dense": nothing.dense, "compressed": nothing.compressed}

    def part(start: int) -> Partial:
        dense, compressed = (read(start, min(start + CHUNK, total)) for read in (read_dense, read_compressed))
        found = {}
        for side, piece in (("dense", dense), ("compressed", compressed)):
            known = sides[side]
            found[side] = None if known is None else known.of(piece)
        if device is not None:
            dense, compressed = as_tensor(dense).to(device), as_tensor(compressed).to(device)
        return Partial(
            PairMoments().update(dense, compressed, exact=exact),
            {count: sums.update(dense, compressed, start) for count, sums in nothing.groups.items()},
            found["dense"],
            found["compressed"],
        )

    for partial in _in_order(part, starts, threads):
        for side, found in (("dense", partial.dense), ("compressed", partial.compressed)):
            known = sides[side]
            sides[side] = None if known is None or found is None else known.merge(found)
        yield partial


def pieces_of(view: TensorView) -> Callable[[int, int], Tensor | Numbers]:
    """Reads the elements [start, stop) of a tensor again and again, which is loaded once where it has no window.

    Args:
        view: The tensor.

    Returns:
        A function of start and stop; what it reads of a file as it lies there needs no PyTorch.
    """
    if view.numbers is not None:
        return view.numbers
    if view.window is not None:
        return view.piece
    whole = view.read().reshape(-1)
    return lambda start, stop: whole[start:stop]


def _cores() -> int:
    # Those that this process may use, where the system tells; some 45 MB each, of which 500 MB hold no more.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


def _in_order(part: Callable[[int], Partial], starts: range, threads: int | None) -> Iterator[Partial]:
    """The chunks' statistics in order, computed by several threads, few of them ahead of the one that merges."""
    workers = min(threads or _cores(), len(starts))
    if workers <= 1:
        yield from map(part, starts)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = [pool.submit(part, start) for start in starts[: _AHEAD * workers]]
        for start in starts[_AHEAD * workers :]:
            yield waiting.pop(0).result()
            waiting.append(pool.submit(part, start))
        for future in waiting:
            yield future.result()
    finally:
        # After an interruption only the chunks that run are waited for.
        pool.shutdown(wait=True, cancel_futures=True)
