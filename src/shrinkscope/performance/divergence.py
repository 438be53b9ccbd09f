"""AP3 of the predictive latent: how far two networks' predictions lie apart, with its standard error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Literal, get_args

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import evaluation_mode, forward
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.predictions import PredictionTally
from shrinkscope.performance.regression import gaussian_distances
from shrinkscope.performance.tokens import sequence_distances
from shrinkscope.quantity import Quantity

Kind = Literal["classes", "tokens", "regression"]
"""What the outputs predict: one class an input, one token a position, or numbers."""

# Tokens of one forward pass: with a vocabulary of 128,000 the scores of a network take 1 GB in float32.
_TOKENS_A_BATCH = 2048
_INPUTS_A_BATCH = 512


class PredictiveDivergence(msgspec.Struct, frozen=True, kw_only=True):
    """AP3 = KL(P_ω‖P_ω̃) with P_ω the law of an input and what the network predicts for it.

    The standard errors are over the inputs (the sequences, for tokens), which must be independent of each other.

    Attributes:
        kind: What the outputs predict.
        samples: Number of inputs; for tokens, of sequences.
        positions: Number of positions that counted; None unless the outputs are tokens.
        classes: Number of classes, or of tokens in the vocabulary; None for regression.
        scale: Standard deviation s of the Gaussian prediction; None for classes and tokens.
        kl: E KL(p_ω‖p_ω̃) in nats; for tokens, in nats per token, averaged over each sequence first.
        total_variation: E TV(p_ω, p_ω̃), in [0, 1], averaged likewise.
        disagreement: Share of inputs (positions) whose argmax differs; None for regression.
    """

    kind: Kind
    samples: int
    positions: int | None = None
    classes: int | None = None
    scale: float | None = None
    kl: Quantity
    total_variation: Quantity
    disagreement: Quantity | None = None


def mean_over_samples(values: Tensor, unit: str) -> Quantity:
    """The mean over independent samples as an estimate with its standard error; None of one sample.

    Args:
        values: One value a sample, shape (samples,).
        unit: Their unit.
    """
    error = float(values.std(correction=1)) / len(values) ** 0.5 if len(values) > 1 else None
    return Quantity(value=float(values.mean()), unit=unit, status="estimate", standard_error=error)


def predictive_divergence(
    dense: nn.Module,
    compressed: nn.Module,
    inputs: Inputs,
    *,
    kind: Kind | None = None,
    scale: float | None = None,
    mask: Tensor | None = None,
    padding: int | None = None,
    outputs: Outputs | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PredictiveDivergence:
    """AP3 of the predictive latent in nats, KL(P_ω‖P_ω̃) = E_x KL(p_ω(·|x)‖p_ω̃(·|x)), from unlabelled inputs.

    Classes and tokens are categorical predictions, numbers Gaussian ones: N(f(x), s²I).

    Args:
        dense: The network before compression.
        compressed: The network after compression.
        inputs: A tensor whose first dimension counts inputs (token ids of shape (sequences, positions) for a language
            model), an iterable of such batches, or data whose targets are not looked at. Consumed once.
        kind: What the outputs predict. None tells from their shape: three dimensions are tokens, two are classes, or
            numbers if a scale is given.
        scale: s of a regression, in the unit of the outputs: ``residual_scale(dense, data)`` estimates it.
        mask: Which positions count, bool of the shape of ``inputs``, which must be one tensor. Positions that do not
            are still seen by the networks: pad where later positions cannot look (on the right of a causal model).
        padding: Token id that marks positions that do not count.
        outputs: Finds the tensor of scores in what the networks return; None takes a tensor, or the one called
            ``logits``: for a tuple, ``lambda returned: returned[0]``.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor; None takes 512, or as many sequences as make
            2,048 tokens.
        progress: Called after each batch with the number of inputs done.

    Returns:
        Mean KL, total variation and disagreement, each with its standard error over the inputs.

    Raises:
        DataError: If the inputs, the outputs or the options do not fit; the message says what to do.

    Source: derived in docs/theory.md (the predictive bound); tests/performance/test_divergence.py.
    """
    _check_options(kind, scale, mask, padding, inputs)
    size = _batch_size(inputs, kind) if batch_size is None else batch_size
    tally, done = None, 0
    with ExitStack() as stack, torch.no_grad():
        for model in (dense, compressed):
            stack.enter_context(evaluation_mode(model))
        for batch, counts in _masked(input_batches(inputs, size), mask, padding):
            pair = [
                forward(name, model, batch, outputs) for name, model in (("dense", dense), ("compressed", compressed))
            ]
            tally = tally or _tally(kind or _kind_of(pair[0], scale), scale)
            tally.add(pair[0], pair[1], counts)
            done += len(batch)
            if progress is not None:
                progress(done)
    assert tally is not None  # input_batches yields at least one batch, or raises
    return tally.divergence()


class _Classes:
    def __init__(self) -> None:
        self._tally = PredictionTally()

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None:
        _no_positions(counts, "classes")
        self._tally.add(dense, compressed)

    def divergence(self) -> PredictiveDivergence:
        found = self._tally.predictions()
        return PredictiveDivergence(
            kind="classes",
            samples=found.samples,
            classes=found.classes,
            kl=mean_over_samples(found.kl, "nats"),
            total_variation=mean_over_samples(found.total_variation, "probability"),
            disagreement=mean_over_samples(found.disagrees.to(torch.float64), "fraction"),
        )


class _Tokens:
    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []
        self._positions, self._vocabulary = 0, 0

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None:
        if counts is None:
            counts = torch.ones(dense.shape[:2], dtype=torch.bool)
        self._parts.append(sequence_distances(dense, compressed, counts))
        self._positions += int(counts.sum())
        if self._vocabulary not in (0, dense.shape[2]):
            raise DataError(f"dense returned a vocabulary of {self._vocabulary} before and of {dense.shape[2]} now")
        self._vocabulary = dense.shape[2]

    def divergence(self) -> PredictiveDivergence:
        kl, total_variation, disagreement = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        return PredictiveDivergence(
            kind="tokens",
            samples=len(kl),
            positions=self._positions,
            classes=self._vocabulary,
            kl=mean_over_samples(kl, "nats per token"),
            total_variation=mean_over_samples(total_variation, "probability"),
            disagreement=mean_over_samples(disagreement, "fraction"),
        )


class _Regression:
    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None:
        _no_positions(counts, "numbers")
        self._parts.append(gaussian_distances(dense, compressed, self._scale))

    def divergence(self) -> PredictiveDivergence:
        kl, total_variation = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        return PredictiveDivergence(
            kind="regression",
            samples=len(kl),
            scale=self._scale,
            kl=mean_over_samples(kl, "nats"),
            total_variation=mean_over_samples(total_variation, "probability"),
        )


def _tally(kind: Kind, scale: float | None) -> _Classes | _Tokens | _Regression:
    if kind != "regression":
        return _Classes() if kind == "classes" else _Tokens()
    if scale is None:
        raise DataError(
            "a regression needs the standard deviation of its prediction: give scale=…, for example "
            "residual_scale(dense, data).value"
        )
    return _Regression(scale)


def _kind_of(scores: Tensor, scale: float | None) -> Kind:
    if scale is not None:
        return "regression"
    if scores.ndim == 3:
        return "tokens"
    if scores.ndim == 2 and scores.shape[1] > 1:
        return "classes"
    raise DataError(
        f"dense returned shape {tuple(scores.shape)}, which may mean anything; say kind='regression' with scale=…, or "
        "wrap the networks so that they return (inputs, classes) or (sequences, positions, vocabulary)"
    )


def _check_options(
    kind: Kind | None, scale: float | None, mask: Tensor | None, padding: int | None, inputs: object
) -> None:
    if kind is not None and kind not in get_args(Kind):
        raise DataError(f"kind = {kind!r}; expected classes, tokens or regression, or None to tell from the outputs")
    if scale is not None and kind in ("classes", "tokens"):
        raise DataError(f"scale = {scale} belongs to a regression; leave it out for {kind}")
    if mask is None:
        return
    if padding is not None:
        raise DataError("mask and padding both say which positions count; give one of them")
    if not isinstance(inputs, Tensor) or mask.shape != inputs.shape:
        found = f"of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise DataError(
            f"mask has shape {tuple(mask.shape)} and inputs is {found}; expected one tensor of the same shape "
            "(for batches, mark positions with padding=…)"
        )


def _batch_size(inputs: object, kind: Kind | None) -> int:
    ids = isinstance(inputs, Tensor) and inputs.ndim == 2 and not inputs.is_floating_point()
    if isinstance(inputs, Tensor) and inputs.ndim > 1 and (kind == "tokens" or (ids and kind is None)):
        return max(1, _TOKENS_A_BATCH // max(inputs.shape[1], 1))
    return _INPUTS_A_BATCH


def _masked(
    batches: Iterator[Tensor], mask: Tensor | None, padding: int | None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    start = 0
    for batch in batches:
        counts = None if mask is None else mask[start : start + len(batch)]
        if padding is not None:
            counts = batch != padding
        start += len(batch)
        yield batch, None if counts is None else counts.to("cpu")


def _no_positions(counts: Tensor | None, what: str) -> None:
    if counts is not None:
        raise DataError(f"mask and padding are about positions of sequences, and the outputs are {what}: give neither")
