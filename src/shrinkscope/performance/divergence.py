"""AP3 of the predictive latent: how far two networks' predictions lie apart, with its standard error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import evaluation_mode, forward
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Kind, Reading
from shrinkscope.performance.tally import PredictiveDistances, PredictiveTally
from shrinkscope.quantity import Quantity

INPUTS_A_BATCH = 512
"""Inputs of a forward pass, where they are no sequences of tokens."""


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
    reading = Reading(kind=kind, scale=scale, padding=padding, outputs=outputs)
    found = predictive_distances(
        dense, compressed, inputs, reading, mask=mask, batch_size=batch_size, progress=progress
    )
    return divergence_of(found)


def predictive_distances(
    dense: nn.Module,
    compressed: nn.Module,
    inputs: Inputs,
    reading: Reading,
    *,
    mask: Tensor | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PredictiveDistances:
    """The distances that ``predictive_divergence`` averages, sample by sample, in one pass and evaluation mode.

    Args:
        dense: The network before compression.
        compressed: The network after compression.
        inputs: As for ``predictive_divergence``.
        reading: How the outputs are read.
        mask: As for ``predictive_divergence``.
        batch_size: As for ``predictive_divergence``.
        progress: As for ``predictive_divergence``.

    Returns:
        KL in nats, total variation and disagreement of every input, or sequence.

    Raises:
        DataError: As for ``predictive_divergence``.
    """
    tally, done = PredictiveTally(reading), 0
    _check_mask(mask, reading.padding, inputs)
    size = reading.inputs_a_batch(inputs, INPUTS_A_BATCH) if batch_size is None else batch_size
    with ExitStack() as stack, torch.no_grad():
        for model in (dense, compressed):
            stack.enter_context(evaluation_mode(model))
        for batch, counts in _masked(input_batches(inputs, size), mask, reading):
            pair = [
                forward(name, model, batch, reading.outputs)
                for name, model in (("dense", dense), ("compressed", compressed))
            ]
            tally.add(pair[0], pair[1], counts)
            done += len(batch)
            if progress is not None:
                progress(done)
    return tally.distances()


def divergence_of(found: PredictiveDistances) -> PredictiveDivergence:
    """The means of distances over the samples, each an estimate with its unit and standard error.

    Args:
        found: The distances, sample by sample.
    """
    share = found.disagreement
    return PredictiveDivergence(
        kind=found.kind,
        samples=found.samples,
        positions=found.positions,
        classes=found.classes,
        scale=found.scale,
        kl=mean_over_samples(found.kl, "nats per token" if found.kind == "tokens" else "nats"),
        total_variation=mean_over_samples(found.total_variation, "probability"),
        disagreement=None if share is None else mean_over_samples(share, "fraction"),
    )


def _check_mask(mask: Tensor | None, padding: int | None, inputs: object) -> None:
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


def _masked(batches: Iterator[Tensor], mask: Tensor | None, reading: Reading) -> Iterator[tuple[Tensor, Tensor | None]]:
    start = 0
    for batch in batches:
        counts = reading.counts(batch) if mask is None else mask[start : start + len(batch)].to("cpu")
        start += len(batch)
        yield batch, counts
