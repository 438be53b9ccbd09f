"""How far two categorical predictions lie apart, row of scores by row of scores, in bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Scores that are in float64 at a time: 8 MB a copy, of which a few exist at once. A single longer row is taken whole.
CHUNK_SCORES = 2**20

# Rows of probabilities sum to 1 up to the rounding of their type: half precision of a few thousand classes at worst.
_SUM_TOLERANCE = 1e-2


class Distances(NamedTuple):
    """Row by row, shape (rows,): p is the softmax of the dense network's scores, q of the compressed one's.

    ``disagrees`` is whether the argmax differs; ``total_variation`` is ½ Σ|p − q|; ``kl`` is KL(p‖q) in nats; and
    ``margin`` is the difference of the two largest entries of p.
    """

    disagrees: Tensor
    total_variation: Tensor
    kl: Tensor
    margin: Tensor


def chunks(rows: int, scores: int) -> Iterator[slice]:
    """Slices of rows that hold at most ``CHUNK_SCORES`` scores each, but at least one row.

    Args:
        rows: Number of rows.
        scores: Scores a row.

    Yields:
        Slices that cover all rows in order.
    """
    step = max(1, CHUNK_SCORES // max(scores, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def distances(dense: Tensor, compressed: Tensor) -> Distances:
    """Compare two predictions row by row, in float64.

    No float64 copy of all scores exists at any time, so that the vocabulary of a language model can be as large as the
    network's own type allows.

    Args:
        dense: Logits, shape (rows, classes), at least 2 classes; −inf excludes a class.
        compressed: Logits of the same shape.

    Returns:
        Float64 distances (bool for the disagreement), shape (rows,). A KL is infinite where the compressed network
        excludes a class that the dense one does not.

    Source: the definitions; tests/performance/test_predictions.py compares with mpmath.
    """
    parts = [_distances(dense[part], compressed[part]) for part in chunks(*dense.shape)]
    return Distances(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def like_probabilities(scores: Tensor) -> bool:
    """Whether every row is in [0, 1] with sum 1, as no rows of logits are but by chance.

    Args:
        scores: Shape (rows, classes).
    """
    return all(_rows_of_probabilities(scores[part]) for part in chunks(*scores.shape))


def _distances(dense: Tensor, compressed: Tensor) -> Distances:
    # The classes are compared as the accuracy sees them: before the change of type, the first of equal scores.
    disagrees = dense.argmax(dim=1) != compressed.argmax(dim=1)
    log_p = torch.log_softmax(dense.to(torch.float64), dim=1)
    log_q = torch.log_softmax(compressed.to(torch.float64), dim=1)
    p, q = log_p.exp(), log_q.exp()
    # Where p is 0 in float64, p log(p/q) is 0, even if log q is -inf there.
    kl = torch.where(p > 0, p * (log_p - log_q), 0.0).sum(dim=1).clamp(min=0)
    total_variation = (p - q).abs().sum(dim=1).div(2).clamp(max=1)
    largest = p.topk(2, dim=1).values
    return Distances(disagrees, total_variation, kl, largest[:, 0] - largest[:, 1])


def _rows_of_probabilities(scores: Tensor) -> bool:
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    return inside and bool(((scores.to(torch.float64).sum(dim=1) - 1).abs() <= _SUM_TOLERANCE).all())
