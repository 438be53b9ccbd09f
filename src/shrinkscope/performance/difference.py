"""The performance difference between a network and its compressed version, with a paired interval."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
import numpy
import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.bootstrap import check_resampling, default_generator, percentile_interval, resample_counts
from shrinkscope.performance.data import Data
from shrinkscope.performance.evaluate import evaluate_all
from shrinkscope.performance.evaluation import Evaluation, scalar
from shrinkscope.performance.metrics import Metric


class PerformanceDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How much one performance measure changed, in the measure's unit.

    Attributes:
        metric: Name of the measure.
        unit: Its unit.
        dense: Value of the network before compression; None when it is NaN or infinite (``reason`` says which).
        compressed: Value of the network after compression, likewise.
        difference: compressed - dense, signed; None when not measurable.
        absolute: The paper's PD, |difference|; None when not measurable.
        standard_error: Standard error of ``difference`` over the drawing of the samples, the two networks
            paired; None when the data cannot give one (one sample, or a scalar metric without resamples).
        lower: Lower end of the interval of ``difference``; None without resamples.
        upper: Upper end.
        confidence: Probability that the interval aims at.
        samples: Number of samples.
        non_finite_dense: Samples for which the dense network's outputs hold NaN or an infinity.
        non_finite_compressed: The same for the compressed network.
        measurable: Whether ``difference`` exists.
        reason: Why it does not, or why it has no standard error or interval; None when there is nothing to
            say.
        status: Always "estimate": other samples of the same population would give another value.
    """

    metric: str
    unit: str
    dense: float | None
    compressed: float | None
    difference: float | None
    absolute: float | None
    standard_error: float | None
    lower: float | None
    upper: float | None
    confidence: float
    samples: int
    non_finite_dense: int
    non_finite_compressed: int
    measurable: bool
    reason: str | None
    status: Literal["estimate"] = "estimate"


def performance_difference(
    dense: nn.Module,
    compressed: nn.Module,
    data: Data,
    metrics: Mapping[str, Metric] | None = None,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
    batch_size: int = 512,
    progress: Callable[[int], None] | None = None,
) -> dict[str, PerformanceDifference]:
    """Measure how much compression changed a network's performance, with an interval, in each metric's unit.

    Args:
        dense: The network before compression.
        compressed: The network after compression; it sees the same batches.
        data: (inputs, targets) tensors or an iterable of such batches, consumed once.
        metrics: Name to metric; None measures "loss" (cross-entropy in nats) and "accuracy" (fraction).
        resamples: Bootstrap resamples; 0 gives no interval, and a standard error for means over samples only.
        confidence: Probability that the intervals aim at, in (0, 1).
        generator: Source of the resamples; None means a new generator with seed 0, so that a call can be
            repeated.
        batch_size: Samples a forward pass when ``data`` are tensors.
        progress: Called after each batch with the number of samples done.

    Returns:
        Name to difference, signed as compressed - dense; ``absolute`` is the paper's PD.

    Raises:
        DataError: If data, outputs, metrics, resamples or confidence are not what is needed.

    Source: Definition 2.8 of the paper for ``absolute`` with the loss; its released code uses the accuracy.
    """
    check_resampling(resamples, confidence)
    both = evaluate_all({"dense": dense, "compressed": compressed}, data, metrics, batch_size, progress=progress)
    return difference_between(
        both["dense"], both["compressed"], resamples=resamples, confidence=confidence, generator=generator
    )


def difference_between(
    dense: Evaluation,
    compressed: Evaluation,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
) -> dict[str, PerformanceDifference]:
    """Compare two evaluations of the same samples in the same order, each metric in its unit.

    One evaluation of the dense network serves any number of compressed ones. The same resamples are used for
    both networks and all metrics, so what the networks share cancels. A network pair that agrees on every
    sample gets an interval of width zero: resampling cannot show a difference that the data do not hold.

    Args:
        dense: Evaluation of the network before compression.
        compressed: Evaluation of the network after compression, with the same metrics.
        resamples: As for ``performance_difference``.
        confidence: As for ``performance_difference``.
        generator: As for ``performance_difference``.

    Returns:
        Name to difference, signed as compressed - dense.

    Raises:
        DataError: If the evaluations are of different samples or metrics, or resamples and confidence are
            impossible.

    Source: Efron & Tibshirani (1993), chapters 6 and 13.
    """
    check_resampling(resamples, confidence)
    _check_pairing(dense, compressed)
    finite = [name for name in dense.values if _obstacle(name, dense, compressed) is None]
    drawn = _resampled(dense, compressed, finite, resamples, generator or default_generator())
    return {name: _difference(name, dense, compressed, drawn.get(name), confidence) for name in dense.values}


def _check_pairing(dense: Evaluation, compressed: Evaluation) -> None:
    if dense.values.keys() != compressed.values.keys():
        raise DataError(
            f"dense was measured by {', '.join(dense.values)} and compressed by {', '.join(compressed.values)}; "
            "evaluate both with the same metrics"
        )
    if dense.samples != compressed.samples or dense.targets_digest != compressed.targets_digest:
        raise DataError(
            f"dense ({dense.samples} samples) and compressed ({compressed.samples} samples) were evaluated on "
            "different targets; evaluate both on the same samples in the same order (no shuffling)"
        )


def _obstacle(name: str, dense: Evaluation, compressed: Evaluation) -> str | None:
    """Say why the difference does not exist, or None when it does."""
    found = [
        f"{which} {name} is {evaluation.values[name]} "
        f"({evaluation.non_finite} of {evaluation.samples} outputs not finite)"
        for which, evaluation in (("dense", dense), ("compressed", compressed))
        if not math.isfinite(evaluation.values[name])
    ]
    return "; ".join(found) or None


def _resampled(
    dense: Evaluation, compressed: Evaluation, names: list[str], resamples: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the difference of each metric on every resample, shape (resamples,)."""
    means = [name for name in names if name in dense.per_sample]
    scalars = [name for name in names if name not in dense.per_sample]
    if not names or resamples == 0:
        return {}
    changes = torch.zeros(dense.samples, len(means), dtype=torch.float64)
    for column, name in enumerate(means):
        changes[:, column] = compressed.per_sample[name] - dense.per_sample[name]
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for counts in resample_counts(dense.samples, resamples, generator):
        for name, column in zip(means, (counts @ changes / dense.samples).unbind(dim=1), strict=True):
            parts[name].append(column)
        for name in scalars:
            parts[name].append(_scalar_differences(name, dense, compressed, counts))
    return {name: torch.cat(columns) for name, columns in parts.items()}


def _scalar_differences(name: str, dense: Evaluation, compressed: Evaluation, counts: Tensor) -> Tensor:
    differences = []
    samples = numpy.arange(counts.shape[1])
    for row in counts.to(torch.int64).numpy():
        # numpy's repeat: torch.repeat_interleave wakes all threads for each of thousands of short calls.
        drawn = torch.from_numpy(numpy.repeat(samples, row))
        differences.append(_scalar_on(name, compressed, drawn) - _scalar_on(name, dense, drawn))
    return torch.tensor(differences, dtype=torch.float64)


def _scalar_on(name: str, evaluation: Evaluation, drawn: Tensor) -> float:
    assert evaluation.outputs is not None
    assert evaluation.targets is not None
    return scalar(name, evaluation.metrics[name], evaluation.outputs[drawn], evaluation.targets[drawn])


def _difference(
    name: str, dense: Evaluation, compressed: Evaluation, drawn: Tensor | None, confidence: float
) -> PerformanceDifference:
    obstacle = _obstacle(name, dense, compressed)
    difference = None if obstacle else compressed.values[name] - dense.values[name]
    error, lower, upper, silence = (
        (None, None, None, None) if obstacle else _spread(name, dense, compressed, drawn, confidence)
    )
    return PerformanceDifference(
        metric=name,
        unit=dense.unit(name),
        dense=_finite(dense.values[name]),
        compressed=_finite(compressed.values[name]),
        difference=difference,
        absolute=None if difference is None else abs(difference),
        standard_error=error,
        lower=lower,
        upper=upper,
        confidence=confidence,
        samples=dense.samples,
        non_finite_dense=dense.non_finite,
        non_finite_compressed=compressed.non_finite,
        measurable=obstacle is None,
        reason=obstacle or silence,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _spread(
    name: str, dense: Evaluation, compressed: Evaluation, drawn: Tensor | None, confidence: float
) -> tuple[float | None, float | None, float | None, str | None]:
    """Return standard error, lower and upper end, and why one of them is missing."""
    if dense.samples < 2:
        return None, None, None, "one sample shows no spread; give at least two"
    if drawn is not None and not drawn.isfinite().all():
        undefined = int((~drawn.isfinite()).sum())
        return None, None, None, f"{name} is not finite on {undefined} of {len(drawn)} resamples; give more samples"
    lower, upper = (None, None) if drawn is None else percentile_interval(drawn, confidence)
    if name in dense.per_sample:
        # The statistic is a mean, so its standard error has a formula without the bootstrap's own noise.
        changes = compressed.per_sample[name] - dense.per_sample[name]
        return float(changes.std(correction=1)) / dense.samples**0.5, lower, upper, None
    if drawn is None:
        return None, None, None, f"{name} is not a mean over samples, so its standard error needs resamples"
    return float(drawn.std(correction=1)), lower, upper, None
