"""Which channels of a layer are which channels of a narrower one: by the cosine of their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shrinkscope.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor

CHANCE = 1e-3
"""Probability with which a channel without a counterpart may find one by chance, for directions uniform on a sphere."""

TILE = 1 << 23
"""Numbers of one side held at a time, in float32: 32 MB."""

Reader = Callable[[int, int], "Tensor"]
"""Gives the channels [start, stop) as rows of a float32 matrix."""


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """The channels of one tensor as vectors, read when needed.

    Attributes:
        count: Number of channels.
        width: Numbers a channel.
        read: Gives some of them.
    """

    count: int
    width: int
    read: Reader


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Channels of the narrower layer, each with its counterpart in the wide one.

    Attributes:
        kept: Index in the wide layer of each channel of the narrower one, all different.
        sure: For each of them whether the match is certain, shape (count,).
        certainty: Share of channels that are certain: the match is mutual, its cosine is above the runner-up's by the
            margin in both directions, and chance gives such a cosine with probability below ``CHANCE``; in [0, 1].
            Channels of zeros do not count.
        cosine: Median cosine of the matches, in [−1, 1].
        in_order: Whether the indices ascend.
    """

    kept: Tensor
    sure: Tensor
    certainty: float
    cosine: float
    in_order: bool


def match(dense: Channels, compressed: Channels, margin: float) -> Match:
    """The best counterpart of every channel of the narrower layer.

    Args:
        dense: The wide layer's channels.
        compressed: The narrower layer's, of the same width and no more in number.
        margin: How far a match's cosine must be above the runner-up's to be certain.

    Source: derived here; tests/weights/mapping/test_matching.py compares with a dense float64 computation.
    """
    rows, columns = _best_two(dense, compressed)
    found = columns.index
    each = torch.arange(compressed.count)
    mutual = rows.index[found] == each
    clear = (columns.best - columns.second > margin) & (rows.best[found] - rows.second[found] > margin)
    sure = mutual & clear & (columns.best > chance_cosine(dense.width, dense.count))
    kept = torch.where(mutual, found, -1)
    if not bool(mutual.all()):
        kept = _completed(kept, dense, compressed)
    cosines = paired_cosines(dense, compressed, kept)
    # Only a channel of zeros has the same cosine, zero, with everything.
    alive = (columns.best != 0) | (columns.second != 0)
    return Match(
        kept=kept,
        sure=sure,
        certainty=float(sure[alive].double().mean()) if bool(alive.any()) else 0.0,
        cosine=float(cosines[alive].median()) if bool(alive.any()) else 0.0,
        in_order=bool((kept[1:] > kept[:-1]).all()),
    )


def chance_cosine(width: int, count: int) -> float:
    """The cosine that the largest of ``count`` random directions reaches with probability ``CHANCE``.

    Args:
        width: Dimensions; the cosine of two uniform directions c has 1 − c² ~ Beta((width − 1)/2, ½).
        count: Directions tried.

    Returns:
        A number in [0, 1]; one for a single dimension, in which all directions are equal or opposite.
    """
    if width < 2:
        return 1.0
    from scipy.special import betaincinv  # only here, so that a comparison starts without it

    single = -math.expm1(math.log1p(-CHANCE) / max(1, count))
    return math.sqrt(max(0.0, 1.0 - float(betaincinv((width - 1) / 2, 0.5, min(1.0, 2 * single)))))


def paired_cosines(dense: Channels, compressed: Channels, kept: Tensor) -> Tensor:
    """The cosine of each channel of the narrower layer with the one it is paired with, float64 of shape (count,).

    Args:
        dense: The wide layer's channels.
        compressed: The narrower layer's.
        kept: Index in the wide layer of each.
    """
    out = torch.zeros(compressed.count, dtype=torch.float64)
    order = torch.argsort(kept)
    for low, high in _tiles(dense):
        chosen = order[(kept[order] >= low) & (kept[order] < high)]
        if not len(chosen):
            continue
        wide = _unit(dense.read(low, high))[kept[chosen] - low]
        out[chosen] = (wide * _unit(_rows(compressed, chosen))).sum(1).double()
    return out


class _Best(msgspec.Struct):
    """For each channel the largest cosine, the second largest, and where the largest is."""

    best: Tensor
    second: Tensor
    index: Tensor

    @staticmethod
    def none(count: int) -> "_Best":
        low = torch.full((count,), -2.0)
        return _Best(best=low, second=low.clone(), index=torch.zeros(count, dtype=torch.long))

    def see(self, start: int, cosines: Tensor, offset: int) -> None:
        """Take in the cosines of channels ``start``… (rows) with some of the other layer from ``offset`` on."""
        stop = start + cosines.shape[0]
        two = cosines.topk(min(2, cosines.shape[1]), dim=1)
        best, index = two.values[:, 0], two.indices[:, 0] + offset
        runner = two.values[:, 1] if two.values.shape[1] > 1 else torch.full_like(best, -2.0)
        old, second = self.best[start:stop].clone(), self.second[start:stop]
        self.second[start:stop] = torch.maximum(torch.maximum(second, runner), torch.minimum(old, best))
        better = best > old
        self.best[start:stop] = torch.where(better, best, old)
        self.index[start:stop] = torch.where(better, index, self.index[start:stop])


def _best_two(dense: Channels, compressed: Channels) -> tuple[_Best, _Best]:
    rows, columns = _Best.none(dense.count), _Best.none(compressed.count)
    for low, high in _tiles(dense):
        wide = _unit(dense.read(low, high))
        for first, last in _tiles(compressed):
            cosines = wide @ _unit(compressed.read(first, last)).T
            rows.see(low, cosines, first)
            columns.see(first, cosines.T, low)
    return rows, columns


def _tiles(channels: Channels) -> list[tuple[int, int]]:
    # The table of cosines of two tiles is to be no larger than a tile.
    step = max(1, min(TILE // max(1, channels.width), math.isqrt(TILE)))
    return [(low, min(low + step, channels.count)) for low in range(0, channels.count, step)]


def _completed(kept: Tensor, dense: Channels, compressed: Channels) -> Tensor:
    """Counterparts for the channels that have no mutual one: those of the largest sum of cosines among what is left."""
    taken = torch.zeros(dense.count, dtype=torch.bool)
    taken[kept[kept >= 0]] = True
    open_rows, free = torch.nonzero(kept < 0).reshape(-1), torch.nonzero(~taken).reshape(-1)
    if len(open_rows) * len(free) > TILE:
        # So many open channels are no match; any distinct counterparts serve to say so.
        return kept.index_put((open_rows,), free[: len(open_rows)])
    cosines = _unit(_rows(compressed, open_rows)) @ _unit(_rows(dense, free)).T
    from scipy.optimize import linear_sum_assignment  # only here, so that a comparison starts without it

    chosen_rows, chosen = linear_sum_assignment(np.asarray(cosines), maximize=True)
    return kept.index_put((open_rows[torch.from_numpy(chosen_rows)],), free[torch.from_numpy(chosen)])


def _rows(channels: Channels, index: Tensor) -> Tensor:
    """Chosen channels, read tile by tile."""
    out = torch.empty(len(index), channels.width)
    for low, high in _tiles(channels):
        here = (index >= low) & (index < high)
        if bool(here.any()):
            out[here] = channels.read(low, high)[index[here] - low]
    return out


def _unit(rows: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # A channel of zeros has no direction: its cosine with everything is taken as zero.
    return torch.where(norms > 0, rows / norms.clamp_min(torch.finfo(rows.dtype).tiny), torch.zeros_like(rows))
