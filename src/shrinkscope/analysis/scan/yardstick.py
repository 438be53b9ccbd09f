"""What is measured on a candidate's outputs: how far its predictions move, and what that costs on labelled data."""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance import (
    Evaluation,
    Metric,
    PerformanceDifference,
    Predictions,
    PredictionTally,
    difference_between,
)
from shrinkscope.performance.data import Data, Inputs, batches, input_batches
from shrinkscope.performance.evaluation import Tally
from shrinkscope.performance.metrics import DEFAULT_METRICS

RULE = (
    "collapsed: the predicted class agrees with the dense network's on at most n/c + 2√(n(1/c)(1 − 1/c)) of n inputs, "
    "what chance gives with c classes plus two standard errors; or outputs are not finite"
)
"""When harsher levels are not run."""


class Samples(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Everything that a scan puts through the network, batch by batch.

    Attributes:
        inputs: The batches.
        targets: Targets of each batch; None where it has none.
        predicted: Whether predictions are compared on it.
    """

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor | None, ...]
    predicted: tuple[bool, ...]

    @property
    def inputs_predicted(self) -> int:
        """Number of inputs on which predictions are compared."""
        return sum(len(batch) for batch, predicted in zip(self.inputs, self.predicted, strict=True) if predicted)

    @property
    def labelled(self) -> int:
        """Number of inputs with targets."""
        return sum(len(targets) for targets in self.targets if targets is not None)


def samples_of(inputs: Inputs | None, data: Data | None, batch_size: int) -> Samples:
    """The batches of a scan, read once and kept.

    Args:
        inputs: Unlabelled inputs; those of ``data`` serve when None.
        data: Labelled data.
        batch_size: Most inputs a batch, where the inputs come as one tensor.

    Raises:
        DataError: If they are not what is needed.
    """
    unlabelled = [] if inputs is None else list(input_batches(inputs, batch_size))
    labelled = [] if data is None else list(batches(data, batch_size))
    return Samples(
        inputs=(*unlabelled, *(batch for batch, _ in labelled)),
        targets=(*(None for _ in unlabelled), *(targets.detach().to("cpu") for _, targets in labelled)),
        predicted=(*(True for _ in unlabelled), *(inputs is None for _ in labelled)),
    )


class Measurement(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a candidate's outputs show.

    Attributes:
        predictions: Distances to the dense network's predictions; None where there are none.
        measured: Metric → difference.
        collapsed: Whether the layer has collapsed; None without predictions.
        identical: Whether every output equals the dense one bit by bit.
        reason: Why there are no predictions.
    """

    predictions: Predictions | None
    measured: dict[str, PerformanceDifference]
    collapsed: bool | None
    identical: bool
    reason: str | None


class Yardstick:
    """Compares outputs with the dense network's.

    Args:
        samples: What was put through the network.
        dense: Its outputs on each batch.
        metrics: Name → metric; None measures loss and accuracy.
        required: Whether predictions were asked for: then outputs that are none are an error.

    Raises:
        DataError: If the dense outputs cannot be measured.
    """

    def __init__(
        self, samples: Samples, dense: Sequence[Tensor], metrics: Mapping[str, Metric] | None, *, required: bool
    ) -> None:
        self._samples, self._dense = samples, dense
        self._metrics = dict(DEFAULT_METRICS if metrics is None else metrics)
        self._evaluation = self._evaluated(dense)
        self._no_predictions: str | None = None
        try:
            self._predictions(dense)
        except DataError as error:
            if required:
                raise
            self._no_predictions = str(error)

    def measure(self, outputs: Iterable[Tensor]) -> Measurement:
        """Compare a candidate's outputs.

        Args:
            outputs: Of each batch.
        """
        found = list(outputs)
        identical = all(map(_bits_equal, found, self._dense))
        predictions, collapsed, reason = None, None, self._no_predictions
        if reason is None:
            try:
                predictions = self._predictions(found)
                collapsed = has_collapsed(predictions)
            except DataError as error:
                reason, collapsed = str(error), not all(bool(batch.isfinite().all()) for batch in found)
        return Measurement(
            predictions=predictions,
            measured=self._difference(found),
            collapsed=collapsed,
            identical=identical,
            reason=reason,
        )

    def _predictions(self, outputs: Sequence[Tensor]) -> Predictions:
        tally = PredictionTally()
        for dense, compressed, predicted in zip(self._dense, outputs, self._samples.predicted, strict=True):
            if predicted:
                tally.add(dense, compressed)
        return tally.predictions()

    def _evaluated(self, outputs: Sequence[Tensor]) -> Evaluation | None:
        if not self._samples.labelled:
            return None
        tally = Tally(self._metrics)
        for batch, targets in zip(outputs, self._samples.targets, strict=True):
            if targets is not None:
                tally.add(batch, targets)
        return tally.evaluation()

    def _difference(self, outputs: Sequence[Tensor]) -> dict[str, PerformanceDifference]:
        evaluation = self._evaluated(outputs)
        if evaluation is None or self._evaluation is None:
            return {}
        return difference_between(self._evaluation, evaluation, resamples=0)


def has_collapsed(predictions: Predictions) -> bool:
    """Whether two networks agree on the class no more than chance and two standard errors of it (``RULE``).

    Args:
        predictions: Of the dense and the compressed network on the same inputs.
    """
    chance, inputs = 1 / predictions.classes, predictions.samples
    agreeing = inputs - int(predictions.disagrees.sum())
    return agreeing <= inputs * chance + 2 * math.sqrt(inputs * chance * (1 - chance))


def _bits_equal(outputs: Tensor, dense: Tensor) -> bool:
    return outputs.shape == dense.shape and torch.equal(outputs, dense)
