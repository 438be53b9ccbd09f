"""The n lowest or highest of many scores, exactly n of them, without sorting and without joining layers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
import torch
from torch import Tensor

from shrinkscope.weights import CHUNK

Order = Literal["lowest", "highest"]

_DIGIT_BITS = 16
_DIGITS = 1 << _DIGIT_BITS
_BITS = 64
_SHIFTS = range(_BITS - _DIGIT_BITS, -1, -_DIGIT_BITS)


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of one layer, computed anew whenever they are read, so that one layer's scores exist at a time.

    Attributes:
        size: Number of scores.
        read: Returns them, flat, floating point and non-negative; the same values in every call.
    """

    size: int
    read: Callable[[], Tensor]


class OrderStatistic(NamedTuple):
    """The score at a given rank, and where it stands among all scores."""

    value: float
    below: int
    equal: int


def removed_by_rank(layers: Sequence[Scores], number: int, order: Order) -> list[Tensor]:
    """Which scores are among the ``number`` lowest (highest) of all layers together.

    Args:
        layers: The scores of each layer, in the order of registration.
        number: How many to choose, between 0 and the total number of scores.
        order: Choose the lowest or the highest scores.

    Returns:
        For each layer a flat bool tensor, True where chosen; exactly ``number`` entries are True. Equal scores are
        chosen in the order of layers, then of indices, as a stable sort would.
    """
    if number == 0:
        return [torch.zeros(scores.size, dtype=torch.bool) for scores in layers]
    total = sum(scores.size for scores in layers)
    threshold = order_statistic(layers, number if order == "lowest" else total - number + 1)
    beyond = threshold.below if order == "lowest" else total - threshold.below - threshold.equal
    ties_left = number - beyond
    chosen = []
    for scores in layers:
        flags, taken = _beyond_threshold(scores, threshold.value, order, ties_left)
        chosen.append(flags)
        ties_left -= taken
    return chosen


def order_statistic(layers: Sequence[Scores], rank: int) -> OrderStatistic:
    """The ``rank``-th smallest of all scores, by radix selection in bounded extra memory.

    The bit patterns of non-negative float64 numbers are ordered like the numbers. Counting them by 16 bits at a time,
    from the top, narrows the candidates down until few enough are left to be sorted together, or all are equal.

    Args:
        layers: The scores of each layer.
        rank: 1 for the smallest score, the total number of scores for the largest.

    Returns:
        The score, the number of scores below it and the number equal to it.
    """
    prefix, below, candidates = 0, 0, sum(scores.size for scores in layers)
    for shift in _SHIFTS:
        if candidates <= CHUNK:
            return _by_sorting(list(_candidates(layers, prefix, shift + _DIGIT_BITS)), rank, below)
        counts = _digit_counts(layers, prefix, shift)
        running = counts.cumsum(0)
        digit = int(torch.searchsorted(running, rank - below))
        candidates = int(counts[digit])
        below += int(running[digit]) - candidates
        prefix = prefix << _DIGIT_BITS | digit
    return OrderStatistic(torch.tensor(prefix).view(torch.float64).item(), below, candidates)


def _digit_counts(layers: Sequence[Scores], prefix: int, shift: int) -> Tensor:
    """How often each 16-bit digit at ``shift`` follows ``prefix`` in the bit patterns of the scores."""
    counts = torch.zeros(_DIGITS, dtype=torch.int64)
    for bits in _candidates(layers, prefix, shift + _DIGIT_BITS):
        counts += torch.bincount(bits >> shift & (_DIGITS - 1), minlength=_DIGITS).cpu()
    return counts


def _candidates(layers: Sequence[Scores], prefix: int, shift: int) -> Iterator[Tensor]:
    """The bit patterns that begin with ``prefix``, chunk by chunk; what lies to the right of it has ``shift`` bits."""
    for chunk in (chunk for scores in layers for chunk in _chunks(scores)):
        bits = chunk.view(torch.int64)
        # The pattern has 64 bits: nothing is left of the first digit.
        yield bits if shift == _BITS else bits[bits >> shift == prefix]


def _by_sorting(candidates: list[Tensor], rank: int, below: int) -> OrderStatistic:
    """The order statistic from the only bit patterns that it can be, ``below`` others being smaller."""
    bits = torch.cat([chunk.cpu() for chunk in candidates])
    value = bits.sort().values[rank - below - 1]
    return OrderStatistic(
        value.view(torch.float64).item(), below + int((bits < value).sum()), int((bits == value).sum())
    )


def _beyond_threshold(scores: Scores, threshold: float, order: Order, ties: int) -> tuple[Tensor, int]:
    """Flag the scores beyond the threshold and the first ``ties`` scores equal to it; count the latter."""
    flags, taken = [torch.zeros(0, dtype=torch.bool)], 0
    for chunk in _chunks(scores):
        beyond = chunk < threshold if order == "lowest" else chunk > threshold
        equal = chunk == threshold
        # Ties are rare in weights and their running count is slow, so it is taken only where some must be left out.
        if (found := int(equal.sum())) > ties - taken:
            equal &= equal.cumsum(0) <= ties - taken
            found = ties - taken
        taken += found
        flags.append((beyond | equal).cpu())
    return torch.cat(flags), taken


def _chunks(scores: Scores) -> Iterator[Tensor]:
    # float64 holds every supported dtype exactly, so layers of different precision are ranked on one scale.
    for chunk in scores.read().split(CHUNK):
        yield chunk.to(torch.float64)
