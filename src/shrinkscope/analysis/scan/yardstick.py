"""What is measured on a candidate's outputs: how far its predictions move, and what that costs on labelled data."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import torch
from torch import Tensor

from shrinkscope.analysis.scan.collapse import Chance
from shrinkscope.errors import DataError
from shrinkscope.performance import (
    Evaluation,
    Kind,
    Metric,
    PerformanceDifference,
    PredictiveDistances,
    PredictiveTally,
    Reading,
    difference_between,
)
from shrinkscope.performance.data import Data, Inputs, batches, input_batches
from shrinkscope.performance.evaluation import Tally

_INPUTS_A_BATCH = 256
_ROUNDING = 1000
"""Units in the last place of the largest output: what sums in another order may move, and more."""


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


def samples_of(inputs: Inputs | None, data: Data | None, reading: Reading, batch_size: int | None) -> Samples:
    """The batches of a scan, read once and kept.

    Args:
        inputs: Unlabelled inputs; those of ``data`` serve when None.
        data: Labelled data.
        reading: How the outputs are read.
        batch_size: Most inputs a batch, where the inputs come as one tensor; None takes 256, or as many sequences as
            make 2,048 tokens.

    Raises:
        DataError: If they are not what is needed.
    """
    unlabelled = [] if inputs is None else list(input_batches(inputs, _size(inputs, reading, batch_size)))
    labelled = [] if data is None else list(batches(data, _size(data, reading, batch_size)))
    return Samples(
        inputs=(*unlabelled, *(batch for batch, _ in labelled)),
        targets=(*(None for _ in unlabelled), *(targets.detach().to("cpu") for _, targets in labelled)),
        predicted=(*(True for _ in unlabelled), *(inputs is None for _ in labelled)),
    )


def _size(source: object, reading: Reading, batch_size: int | None) -> int:
    if batch_size is not None:
        return batch_size
    first = source[0] if isinstance(source, (tuple, list)) and source else source
    return reading.inputs_a_batch(first, _INPUTS_A_BATCH)


class Measurement(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a candidate's outputs show.

    Attributes:
        distances: From the dense network's predictions; None where there are none.
        measured: Metric → difference.
        collapsed: Whether the layer has collapsed; None without predictions.
        identical: Whether every output equals the dense one bit by bit.
        close: Whether every output equals the dense one but for rounding.
        reason: Why there are no predictions.
    """

    distances: PredictiveDistances | None
    measured: dict[str, PerformanceDifference]
    collapsed: bool | None
    identical: bool
    close: bool
    reason: str | None


class Yardstick:
    """Compares outputs with the dense network's.

    Args:
        samples: What was put through the network.
        dense: Its outputs on each batch.
        metrics: Name → metric.
        reading: How the outputs are read.
        required: Whether predictions were asked for: then outputs that are none are an error.

    Attributes:
        kind: What the outputs predict; None where they are no predictions.

    Raises:
        DataError: If the dense outputs cannot be measured.
    """

    def __init__(
        self,
        samples: Samples,
        dense: Sequence[Tensor],
        metrics: Mapping[str, Metric],
        reading: Reading,
        *,
        required: bool,
    ) -> None:
        self.samples, self.dense, self.metrics, self.reading = samples, dense, dict(metrics), reading
        self.counts = [
            reading.counts(batch) if used else None
            for batch, used in zip(samples.inputs, samples.predicted, strict=True)
        ]
        self.evaluation: Evaluation | None = None
        self.kind: Kind | None = None
        self.chance: Chance | None = None
        self.no_predictions: str | None = None
        self._look(required)

    def measure(self, outputs: Iterable[Tensor]) -> Measurement:
        """Compare a candidate's outputs.

        Args:
            outputs: Of each batch.
        """
        gauge = Gauge(self)
        for batch in outputs:
            gauge.add(batch)
        return gauge.measurement()

    def _look(self, required: bool) -> None:
        """The dense network against itself: what it achieves, and whether its outputs are predictions."""
        gauge = Gauge(self)
        for batch in self.dense:
            gauge.add(batch)
        self.evaluation = gauge.evaluation()
        if gauge.error is None:
            try:
                self.kind = gauge.distances().kind
            except DataError as error:
                gauge.error = error
        if gauge.error is not None:
            if required:
                raise gauge.error
            self.no_predictions = str(gauge.error)
            return
        used = [index for index, predicted in enumerate(self.samples.predicted) if predicted]
        assert self.kind is not None  # set above unless there was an error
        dense, counts = [self.dense[index] for index in used], [self.counts[index] for index in used]
        self.chance = Chance(self.kind, dense, counts)


class Gauge:
    """One candidate's outputs against the dense network's, batch by batch; none are kept.

    Args:
        yardstick: What is measured.
    """

    def __init__(self, yardstick: Yardstick) -> None:
        self._yardstick = yardstick
        self._tally = PredictiveTally(yardstick.reading)
        self._evaluation = Tally(yardstick.metrics) if yardstick.samples.labelled else None
        self._batch = 0
        self._identical = self._close = self._finite = True
        self.error: DataError | None = None

    def add(self, outputs: Tensor) -> None:
        """Take in the outputs of the next batch.

        Args:
            outputs: As the network returned them.
        """
        yardstick, index = self._yardstick, self._batch
        dense, targets = yardstick.dense[index], yardstick.samples.targets[index]
        self._batch += 1
        self._identical &= outputs.shape == dense.shape and torch.equal(outputs, dense)
        self._close &= _equal_but_for_rounding(outputs, dense)
        self._finite &= bool(outputs.isfinite().all())
        if self._evaluation is not None and targets is not None:
            self._evaluation.add(outputs, targets)
        if self.error is None and yardstick.no_predictions is None and yardstick.samples.predicted[index]:
            try:
                self._tally.add(dense, outputs, yardstick.counts[index])
            except DataError as error:
                self.error = error

    def distances(self) -> PredictiveDistances:
        """From the dense network's predictions.

        Raises:
            DataError: If the outputs are none.
        """
        return self._tally.distances()

    def evaluation(self) -> Evaluation | None:
        """What was achieved on the labelled batches; None without any."""
        return None if self._evaluation is None else self._evaluation.evaluation()

    def measurement(self) -> Measurement:
        """Everything, after the last batch."""
        yardstick = self._yardstick
        distances, collapsed, reason = None, None, yardstick.no_predictions
        if reason is None:
            try:
                if self.error is not None:
                    raise self.error
                distances = self.distances()
                collapsed = yardstick.chance is not None and yardstick.chance.reached(distances)
            except DataError as error:
                reason, collapsed = str(error), not self._finite
        return Measurement(
            distances=distances,
            measured=self._difference(),
            collapsed=collapsed,
            identical=self._identical,
            close=self._close,
            reason=reason,
        )

    def _difference(self) -> dict[str, PerformanceDifference]:
        before, after = self._yardstick.evaluation, self.evaluation()
        return {} if before is None or after is None else difference_between(before, after, resamples=0)


def _equal_but_for_rounding(outputs: Tensor, dense: Tensor) -> bool:
    if outputs.shape != dense.shape or not outputs.is_floating_point():
        return False
    largest = float(dense[dense.isfinite()].abs().max()) if dense.isfinite().any() else 0.0
    allowed = _ROUNDING * torch.finfo(dense.dtype).eps * largest
    return torch.allclose(outputs, dense, rtol=0, atol=allowed, equal_nan=True)
