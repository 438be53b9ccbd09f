"""Joining what compression did to the weights with what it did to the performance."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import torch
from torch import nn

from shrinkscope.analysis.compare import compare
from shrinkscope.analysis.comparison import Comparison
from shrinkscope.analysis.predictive import PredictionWatch, Predictive, predictive_of
from shrinkscope.errors import OutputError
from shrinkscope.files import json_text, write_text
from shrinkscope.latent import DEFAULT, Latent
from shrinkscope.latent.informed_names import informed_names
from shrinkscope.performance import (
    Kind,
    Metric,
    PerformanceDifference,
    Reading,
    difference_between,
    evaluate_all,
    predictive_distances,
)
from shrinkscope.performance.bootstrap import check_resampling
from shrinkscope.performance.data import Data, Inputs, input_batches
from shrinkscope.performance.divergence import INPUTS_A_BATCH
from shrinkscope.performance.metrics import default_metrics
from shrinkscope.performance.outputs import Outputs
from shrinkscope.theory.confidence import check_confidence
from shrinkscope.weights import LayersLike, WeightsLike, runnable

ONE_SPLIT = "data"
"""Name of the only split when the data are not given by split."""

INPUTS = "inputs"
"""Name under which the bounds from unlabelled inputs stand."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What compression did to the weights and to the performance.

    Attributes:
        comparison: Layer by layer, from the weights.
        performance: Split → metric → difference, an estimate with its interval; empty without data.
        predictive: What the predictions prove without labels: under ``"inputs"`` if inputs were given, else for each
            split, from its inputs; empty without either.
    """

    comparison: Comparison
    performance: dict[str, dict[str, PerformanceDifference]]
    predictive: dict[str, Predictive] = {}

    def summary(self) -> str:
        """The performance differences, the bounds and the comparison in a few lines of plain text."""
        from shrinkscope.analysis.wording import performance_in_words, predictive_in_words

        bounds = predictive_in_words(self.predictive, self.performance)
        return "\n".join([*performance_in_words(self.performance), *bounds, self.comparison.summary()])

    def to_json(self) -> str:
        """Everything as JSON text; undefined numbers are null, never NaN."""
        comparison = msgspec.Raw(self.comparison.to_json().encode())
        return json_text({"comparison": comparison, "performance": self.performance, "predictive": self.predictive})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explanation to a .json file, all or nothing.

        Args:
            path: The file.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        if Path(path).suffix.lower() != ".json":
            raise OutputError(
                f"cannot write {path}: an explanation is saved as .json; its comparison as .csv or .parquet"
            )
        write_text(path, self.to_json() + "\n")


def explain(
    dense: WeightsLike,
    compressed: WeightsLike,
    *,
    inputs: Inputs | None = None,
    data: Data | Mapping[str, Data] | None = None,
    network: nn.Module | None = None,
    metrics: Mapping[str, Metric] | None = None,
    kind: Kind | None = None,
    scale: float | None = None,
    outputs: Outputs | None = None,
    padding: int | None = None,
    latents: Iterable[Latent | str] = DEFAULT,
    layers: LayersLike = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Explanation:
    """Explain a compressed network: what changed in each layer, what it can cost at most, and what it cost on data.

    Args:
        dense: The network before compression: a module, a state dict or a file.
        compressed: The network after compression.
        inputs: Unlabelled inputs: a tensor (token ids for a language model), batches of tensors, or data whose targets
            are not looked at. They must be an independent sample of the population that is meant, and none on which a
            network was trained, compressed or calibrated. Without them the inputs of ``data`` serve, in the same pass.
        data: (inputs, targets), an iterable of such batches, or a mapping from split to either, for example
            ``{"train": …, "test": …}``. Without inputs and data only the weights are compared.
        network: A module of the right architecture; needed with inputs or data when a side is not a module, because
            weights alone cannot be run. It is copied, not changed.
        metrics: Name → function of outputs and targets; cross-entropy in nats and accuracy as a fraction by default,
            for a regression the squared error.
        kind: What the networks predict: classes, tokens or regression. None tells from their outputs: three dimensions
            are tokens, two are classes, or numbers if a scale is given.
        scale: Standard deviation s of a regression's prediction N(f(x), s²I): ``residual_scale`` estimates it.
        outputs: Finds the tensor of scores in what the networks return; None takes a tensor, or the one called
            ``logits``.
        padding: Token id that marks positions that do not count.
        latents: Latent distributions, by name or as objects. The Σ⁻¹ of ``"input"``, ``"fisher"``, ``"kfac"`` and the
            others of ``informed_latents`` is gathered from the inputs, or from those of ``data``.
        layers: Which layers the comparison covers; the performance is always that of the whole network.
        resamples: Resamples of the paired bootstrap.
        confidence: Probability that the intervals aim at, and with which each of the bounds holds.
        generator: Source of the resamples; seed 0 when None, so that a call can be repeated.
        progress: Called after each batch with ``"inputs"`` or the name of the split, and the samples of it done.

    Returns:
        The comparison; for each split and metric the signed difference (compressed − dense) with its interval, whose
        absolute value is the paper's PD; and upper bounds on the difference over the population: of the accuracy, and
        of the mean probability of the right label.

    Raises:
        WeightsError: If weights cannot be read, or a network is needed and missing or of another architecture.
        DataError: If inputs or data are not usable. Data whose outputs are no predictions are no error: the bounds
            then say why they do not exist.
        TheoryError: If the confidence is impossible.

    Source: paper, Definition 2.8 (PD); the interval is a percentile bootstrap over samples, the networks paired. The
        bounds are derived in docs/theory.md.
    """
    check_confidence(confidence)
    reading = Reading(kind=kind, scale=scale, padding=padding, outputs=outputs).checked()
    if data is not None:
        check_resampling(resamples, confidence)
    asked = [*latents]
    inputs = _read_again(inputs, asked)
    comparison = compare(
        dense,
        compressed,
        latents=asked,
        layers=layers,
        inputs=_first_inputs(data) if inputs is None else inputs,
        network=network,
        kind=kind,
        scale=scale,
        padding=padding,
        outputs=outputs,
    )
    if inputs is None and data is None:
        return Explanation(comparison=comparison, performance={})
    networks = {"dense": runnable(dense, network), "compressed": runnable(compressed, network)}
    predictive: dict[str, Predictive] = {}
    if inputs is not None:
        found = predictive_distances(
            networks["dense"], networks["compressed"], inputs, reading, progress=_telling(progress, INPUTS)
        )
        predictive[INPUTS] = predictive_of(found, confidence)
    performance = {}
    metrics = default_metrics(reading.regression) if metrics is None else metrics
    for split, part in _splits(data).items():
        watch = PredictionWatch("dense", "compressed", reading)
        observe = watch if inputs is None else None
        size = reading.inputs_a_batch(part[0] if isinstance(part, (tuple, list)) and part else part, INPUTS_A_BATCH)
        both = evaluate_all(
            networks, part, metrics, size, outputs=outputs, observe=observe, progress=_telling(progress, split)
        )
        performance[split] = difference_between(
            both["dense"], both["compressed"], resamples=resamples, confidence=confidence, generator=generator
        )
        if inputs is None:
            predictive[split] = watch.predictive(confidence)
    return Explanation(comparison=comparison, performance=performance, predictive=predictive)


def _telling(progress: Callable[[str, int], None] | None, stage: str) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(stage, done)


def _read_again(inputs: Inputs | None, latents: list[Latent | str]) -> Inputs | None:
    """The inputs, kept in memory where they can be read once and latents are gathered from them, too."""
    once = isinstance(inputs, Iterator) and informed_names(latents)
    return list(input_batches(inputs, INPUTS_A_BATCH)) if once and inputs is not None else inputs


def _first_inputs(data: Data | Mapping[str, Data] | None) -> Inputs | None:
    """Inputs of the first split, where they can be read more than once."""
    first = next(iter(_splits(data).values()), None)
    if first is None or isinstance(first, Iterator):
        return None
    return first  # type: ignore[return-value]  # targets are passed over


def _splits(data: Data | Mapping[str, Data] | None) -> Mapping[str, Data]:
    if data is None:
        return {}
    return data if isinstance(data, Mapping) else {ONE_SPLIT: data}  # type: ignore[return-value]
