"""Joining what compression did to the weights with what it did to the performance."""

import copy
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import torch
from torch import nn

from shrinkscope.analysis.compare import compare
from shrinkscope.analysis.comparison import Comparison
from shrinkscope.errors import OutputError, WeightsError
from shrinkscope.files import write_text
from shrinkscope.latent import DEFAULT, Latent
from shrinkscope.performance import Metric, PerformanceDifference, performance_difference
from shrinkscope.performance.data import Data
from shrinkscope.weights import LayersLike, WeightsLike, open_weights

ONE_SPLIT = "data"
"""Name of the only split when the data are not given by split."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What compression did to the weights and to the performance.

    Attributes:
        comparison: Layer by layer, from the weights.
        performance: Split → metric → difference, an estimate with its interval; empty without data.
    """

    comparison: Comparison
    performance: dict[str, dict[str, PerformanceDifference]]

    def summary(self) -> str:
        """The comparison and the performance differences in a few lines of plain text."""
        from shrinkscope.analysis.wording import performance_in_words

        return "\n".join([*performance_in_words(self.performance), self.comparison.summary()])

    def to_json(self) -> str:
        """Everything as JSON text; undefined numbers are null, never NaN."""
        performance = msgspec.to_builtins(self.performance)
        return json.dumps(
            {"comparison": json.loads(self.comparison.to_json()), "performance": performance}, indent=2, allow_nan=False
        )

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
    data: Data | Mapping[str, Data] | None = None,
    network: nn.Module | None = None,
    metrics: Mapping[str, Metric] | None = None,
    latents: Iterable[Latent | str] = DEFAULT,
    layers: LayersLike = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
) -> Explanation:
    """Explain a compressed network: what changed in each layer, and how much performance it cost on the data given.

    Args:
        dense: The network before compression: a module, a state dict or a file.
        compressed: The network after compression.
        data: (inputs, targets), an iterable of such batches, or a mapping from split to either, for example
            ``{"train": …, "test": …}``. Without data only the weights are compared.
        network: A module of the right architecture; needed with data when a side is not a module, because weights alone
            cannot be run. It is copied, not changed.
        metrics: Name → function of outputs and targets; cross-entropy in nats and accuracy as a fraction by default.
        latents: Latent distributions, by name or as objects.
        layers: Which layers the comparison covers; the performance is always that of the whole network.
        resamples: Resamples of the paired bootstrap.
        confidence: Probability that the intervals aim at.
        generator: Source of the resamples; seed 0 when None, so that a call can be repeated.

    Returns:
        The comparison and, for each split and metric, the signed difference (compressed − dense) with its interval; its
        absolute value is the paper's PD.

    Raises:
        WeightsError: If weights cannot be read, or a network is needed and missing or of another architecture.
        DataError: If the data are not usable.

    Source: paper, Definition 2.8 (PD); the interval is a percentile bootstrap over samples, the networks paired.
    """
    comparison = compare(dense, compressed, latents=latents, layers=layers)
    if data is None:
        return Explanation(comparison=comparison, performance={})
    before, after = runnable(dense, network), runnable(compressed, network)
    splits: Mapping[str, Data] = data if isinstance(data, Mapping) else {ONE_SPLIT: data}  # type: ignore[assignment]
    performance = {
        split: performance_difference(
            before, after, part, metrics, resamples=resamples, confidence=confidence, generator=generator
        )
        for split, part in splits.items()
    }
    return Explanation(comparison=comparison, performance=performance)


def runnable(weights: WeightsLike, network: nn.Module | None) -> nn.Module:
    """The weights as a network that can be run.

    Args:
        weights: A module, or weights that need one.
        network: The architecture for weights that are not a module.

    Returns:
        The module itself, or a copy of ``network`` that holds the weights.

    Raises:
        WeightsError: If there is no network, or it does not fit the weights.
    """
    if isinstance(weights, nn.Module):
        return weights
    source = open_weights(weights)
    if network is None:
        raise WeightsError(
            f"{source.origin} holds weights without a network to run them in; give one: network=… (--network)"
        )
    model = copy.deepcopy(network)
    state = {name: view.read() for name, view in source.items()}
    state |= {alias: state[name] for alias, name in source.tied.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        found = " ".join(str(error).split())[:300]
        raise WeightsError(f"{source.origin} does not fit the network {type(network).__name__}: {found}") from error
    return model
