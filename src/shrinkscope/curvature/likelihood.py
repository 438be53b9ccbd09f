"""The likelihood of what a network predicts: gradients of log p(y|x) in the outputs, for labels y of the network's own.

The Fisher information of one input is E_y[gg^T], g the gradient of log p(y|x). Any set of vectors whose outer products
add up to that expectation serves: labels that are drawn, or all labels with the square roots of their probabilities.
"""

import math
from collections.abc import Iterator

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import CurvatureError, DataError
from shrinkscope.performance.categorical import chunks
from shrinkscope.performance.reading import Kind

MOST_PASSES = 1 << 16
"""Backward passes a batch beyond which an expectation over all labels is refused."""


class Cotangents(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Gradients of log p(y|x) in the outputs of a batch.

    Attributes:
        number: How many there are.
        each: One at a time, of the outputs' shape and type; their outer products add up to the Fisher information of
            each input.
    """

    number: int
    each: Iterator[Tensor]


def cotangents(
    scores: Tensor,
    kind: Kind,
    *,
    scale: float | None,
    counts: Tensor | None,
    draws: int | None,
    generator: torch.Generator,
) -> Cotangents:
    """Gradients of log p(y|x) in a batch of outputs, for labels that the outputs predict.

    For **tokens** p(y|x) is the prediction at one position, and the information of a sequence is the *mean* over its
    positions that count: in nats per token, so that half its quadratic form is the second-order predictive divergence
    as ``predictive_divergence`` states it, whatever the length. Given the input the labels of positions are drawn
    independently, so that one pass serves for all of them: the gradient of their sum over sqrt(positions) has the mean
    of the single ones' outer products as its own in expectation.

    Args:
        scores: Outputs: logits (inputs, classes) or (sequences, positions, vocabulary), or numbers (inputs, …).
        kind: What they predict.
        scale: Standard deviation s of a regression's prediction N(f(x), s²I).
        counts: Which positions of the sequences count, bool; all when None.
        draws: Labels drawn for each input (for each position); None for the expectation over all labels: a pass for
            each class, for each position and token, or for each output of a regression.
        generator: Source of the labels.

    Returns:
        The gradients. No copy of all scores is made but the gradient itself.

    Raises:
        CurvatureError: If the outputs are not predictions of this kind, or the expectation would take too many passes.
        DataError: If positions are given for other outputs than tokens, a sequence has none that counts, or a
            regression has no positive scale.
    """
    check_positions(kind, counts)
    if kind == "regression":
        return _gaussian(scores, checked_scale(scale), draws, generator)
    check_logits(scores, kind)
    logits = scores.unsqueeze(1) if kind == "classes" else scores
    return _categorical(logits, position_shares(scores, kind, counts), draws, generator, scores.shape)


def check_positions(kind: Kind, counts: Tensor | None) -> None:
    """Refuse positions for outputs that have none.

    Args:
        kind: What the outputs predict.
        counts: Which positions count, if anybody says so.

    Raises:
        DataError: If somebody does, and the outputs are not tokens.
    """
    if counts is not None and kind != "tokens":
        raise DataError(f"padding is about positions of sequences, and the outputs are {kind}: leave it out")


def checked_scale(scale: float | None) -> float:
    """The standard deviation of a regression's prediction.

    Args:
        scale: What was given.

    Raises:
        DataError: If there is none, or it is not positive.
    """
    if scale is None:
        raise DataError(
            "a regression needs the standard deviation of its prediction: give scale=…, for example "
            "residual_scale(dense, data).value"
        )
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"scale = {scale}; expected a positive standard deviation in the unit of the outputs")
    return scale


def _gaussian(scores: Tensor, scale: float, draws: int | None, generator: torch.Generator) -> Cotangents:
    """∇ log N(y; f, s²I) = (y − f)/s²: noise over s, or each output's own direction over s."""
    if not bool(torch.isfinite(scores).all()):
        raise CurvatureError("the network returned NaN or infinite numbers; it predicts nothing there")
    entries = scores[0].numel()
    if draws is None:
        _check_passes(entries, f"{entries:,} outputs")

    def drawn(number: int) -> Iterator[Tensor]:
        for _ in range(number):
            noise = torch.randn(scores.shape, generator=generator, dtype=torch.float64, device=generator.device)
            yield (noise / (scale * math.sqrt(number))).to(scores)

    def expected() -> Iterator[Tensor]:
        for entry in range(entries):
            single = torch.zeros(len(scores), entries, dtype=scores.dtype, device=scores.device)
            single[:, entry] = 1 / scale
            yield single.reshape(scores.shape)

    return Cotangents(number=entries, each=expected()) if draws is None else Cotangents(number=draws, each=drawn(draws))


def check_logits(scores: Tensor, kind: Kind) -> None:
    """Refuse outputs that are no logits of classes or tokens.

    Args:
        scores: Outputs.
        kind: ``classes`` or ``tokens``.

    Raises:
        CurvatureError: If the shape is another.
    """
    expected = "(inputs, classes)" if kind == "classes" else "(sequences, positions, vocabulary)"
    if scores.ndim != (2 if kind == "classes" else 3) or scores.shape[-1] < 2:
        raise CurvatureError(
            f"the network returned shape {tuple(scores.shape)}; expected logits of shape {expected} with at least 2 "
            f"{'classes' if kind == 'classes' else 'tokens in the vocabulary'}"
        )


def position_shares(scores: Tensor, kind: Kind, counts: Tensor | None) -> Tensor:
    """Share of each position in the information of its input, float64 of shape (inputs, positions).

    Args:
        scores: Logits of classes or of tokens.
        kind: Which of them.
        counts: Which positions count, bool; all when None.

    Raises:
        DataError: If the positions are not those of the outputs, or a sequence has none that counts.
    """
    shape = (len(scores), 1 if kind == "classes" else scores.shape[1])
    if counts is None:
        return torch.full(shape, 1 / shape[1], dtype=torch.float64, device=scores.device)
    if counts.shape != shape:
        raise DataError(
            f"inputs of {tuple(counts.shape)} tokens gave outputs at {shape} (sequences, positions); padding needs an "
            "output for each token"
        )
    empty = (~counts.any(dim=1)).nonzero()
    if len(empty):
        raise DataError(f"sequence {int(empty[0])} of a batch has no position that counts; leave it out")
    shares = counts.to(scores.device, torch.float64)
    return shares / shares.sum(dim=1, keepdim=True)


def _categorical(
    scores: Tensor, shares: Tensor, draws: int | None, generator: torch.Generator, shape: torch.Size
) -> Cotangents:
    """∇ log p_y = e_y − p at each position, in chunks of float64 rows."""
    rows = shares.reshape(-1).nonzero()[:, 0]
    flat, weights = scores.detach().reshape(-1, scores.shape[2]), shares.reshape(-1)
    _check_scores(flat, rows)
    if draws is not None:
        labels = _drawn(flat, rows, draws, generator)
        weights = weights / draws
        each = (_gradient(flat, rows, column, weights).reshape(shape) for column in labels.unbind(dim=1))
        return Cotangents(number=draws, each=each)
    positions = shares.any(dim=0).nonzero()[:, 0]
    number = len(positions) * scores.shape[2]
    _check_passes(number, f"{len(positions):,} positions and {scores.shape[2]:,} classes")
    places = rows % scores.shape[1]

    def expected() -> Iterator[Tensor]:
        for position in positions:
            own = rows[places == position]
            for label in range(scores.shape[2]):
                labels = torch.full_like(own, label)
                yield _gradient(flat, own, labels, weights, expected=True).reshape(shape)

    return Cotangents(number=number, each=expected())


def _check_scores(flat: Tensor, rows: Tensor) -> None:
    for part in chunks(len(rows), flat.shape[1]):
        found = flat[rows[part]]
        # −inf alone is a way to exclude a class.
        broken = found.isnan().any(dim=1) | (found == math.inf).any(dim=1) | (found == -math.inf).all(dim=1)
        if bool(broken.any()):
            raise CurvatureError("the network returned NaN or infinite logits; it predicts nothing there")


def _check_passes(number: int, what: str) -> None:
    if number > MOST_PASSES:
        raise CurvatureError(
            f"the expectation over all labels takes {number:,} backward passes a batch ({what}); draw labels instead: "
            "draws=1"
        )


def _drawn(flat: Tensor, rows: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Labels of the rows, shape (rows, draws)."""
    found = []
    for part in chunks(len(rows), flat.shape[1]):
        probabilities = torch.softmax(flat[rows[part]].to(torch.float64), dim=1).to(generator.device)
        found.append(torch.multinomial(probabilities, draws, replacement=True, generator=generator))
    return torch.cat(found).to(flat.device)


def _gradient(flat: Tensor, rows: Tensor, labels: Tensor, weights: Tensor, *, expected: bool = False) -> Tensor:
    """√w (e_y − p) in the rows, w the weight of the row, times the probability of its label if that is asked for."""
    gradient = torch.zeros_like(flat)
    for part in chunks(len(rows), flat.shape[1]):
        row, label = rows[part], labels[part, None]
        probabilities = torch.softmax(flat[row].to(torch.float64), dim=1)
        weight = weights[row, None] * (probabilities.gather(1, label) if expected else 1.0)
        step = -probabilities.scatter_add(1, label, -torch.ones_like(label, dtype=torch.float64))
        gradient[row] = (weight.sqrt() * step).to(flat.dtype)
    return gradient
