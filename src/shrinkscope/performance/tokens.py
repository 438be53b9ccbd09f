"""Two language models on the same sequences: distances a token, averaged over each sequence."""

from typing import NamedTuple

import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance.categorical import chunks, distances, like_probabilities


class SequenceDistances(NamedTuple):
    """Sequence by sequence, float64 of shape (sequences,): means over the positions that count.

    Sequences are the independent units: the tokens of one are not independent of each other, so what a standard error
    is taken over are these means.
    """

    kl: Tensor
    total_variation: Tensor
    disagreement: Tensor


def sequence_distances(dense: Tensor, compressed: Tensor, counts: Tensor) -> SequenceDistances:
    """Mean distance a token of each sequence, chunk by chunk: no float64 copy of all scores exists at any time.

    Args:
        dense: Logits, shape (sequences, positions, vocabulary); −inf excludes a token.
        compressed: Logits of the same shape.
        counts: Bool, shape (sequences, positions): which positions count; padding does not.

    Returns:
        Mean KL in nats, total variation and share of positions whose argmax differs.

    Raises:
        DataError: If the outputs are not logits of the same tokens, a sequence has no position that counts, or a KL is
            infinite.

    Source: the definitions; tests/performance/test_tokens.py compares with mpmath.
    """
    _check_shapes(dense, compressed, counts)
    rows = counts.nonzero()
    values = torch.empty(3, len(rows), dtype=torch.float64)
    suspicious = {"dense": True, "compressed": True}
    for part in chunks(len(rows), dense.shape[2]):
        sequence, position = rows[part].unbind(dim=1)
        pair = {"dense": dense[sequence, position], "compressed": compressed[sequence, position]}
        for name, scores in pair.items():
            _check_scores(name, scores)
            suspicious[name] &= like_probabilities(scores)
        found = distances(pair["dense"], pair["compressed"])
        for row, column in zip(values, (found.kl, found.total_variation, found.disagrees), strict=True):
            row[part] = column
    _check_found(suspicious, values[0])
    sums = torch.zeros(3, len(dense), dtype=torch.float64).index_add_(1, rows[:, 0], values)
    return SequenceDistances(*(sums / counts.sum(dim=1)).unbind())


def _check_shapes(dense: Tensor, compressed: Tensor, counts: Tensor) -> None:
    for name, scores in (("dense", dense), ("compressed", compressed)):
        if scores.ndim != 3 or scores.shape[2] < 2 or not scores.is_floating_point():
            raise DataError(
                f"{name} returned shape {tuple(scores.shape)} of type {scores.dtype}; expected logits of shape "
                "(sequences, positions, vocabulary) with at least 2 tokens in the vocabulary"
            )
    if dense.shape != compressed.shape:
        raise DataError(
            f"dense returned shape {tuple(dense.shape)} and compressed {tuple(compressed.shape)}; expected the same "
            "positions and vocabulary of both"
        )
    if counts.dtype != torch.bool or counts.shape != dense.shape[:2]:
        raise DataError(
            f"the mask has shape {tuple(counts.shape)} and type {counts.dtype} for outputs at {tuple(dense.shape[:2])} "
            "(sequences, positions); expected a bool for each, True where a position counts"
        )
    empty = (~counts.any(dim=1)).nonzero()
    if len(empty):
        raise DataError(f"sequence {int(empty[0])} of a batch has no position that counts; leave it out")


def _check_scores(name: str, scores: Tensor) -> None:
    # −inf alone is a way to exclude a token; a row of nothing else, NaN or +inf are no distribution.
    broken = scores.isnan().any(dim=1) | (scores == torch.inf).any(dim=1) | (scores == -torch.inf).all(dim=1)
    if broken.any():
        raise DataError(
            f"{name} returned NaN or infinite logits at {int(broken.sum())} positions; such a network predicts nothing "
            "there: leave these positions out with a mask, or repair the network"
        )


def _check_found(suspicious: dict[str, bool], kl: Tensor) -> None:
    for name, is_suspicious in suspicious.items():
        if is_suspicious:
            raise DataError(
                f"every output of {name} is a row of probabilities (in [0, 1], with sum 1), expected logits; "
                "leave the softmax out, or take its logarithm"
            )
    infinite = int(kl.isinf().sum())
    if infinite:
        raise DataError(
            f"the KL is infinite at {infinite} positions: compressed gives −inf to tokens that dense does not exclude; "
            "exclude the same tokens in both"
        )
