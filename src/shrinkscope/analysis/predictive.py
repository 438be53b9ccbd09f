"""What two networks' predictions on inputs alone prove about their performance, as an explanation holds it."""

from collections.abc import Mapping

import msgspec
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance import Predictions, PredictionTally, mean_over_samples
from shrinkscope.quantity import Quantity
from shrinkscope.theory import Bound
from shrinkscope.theory.predictive import accuracy_from_sample, measure_from_sample


class Predictive(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on the performance difference from unlabelled inputs, each at the stated confidence.

    Each bound holds with probability ``confidence`` over the drawing of the inputs; that both hold has a probability of
    at least 2·confidence − 1.

    Attributes:
        confidence: Probability that each bound holds.
        samples: Number of inputs; None when there are no predictions to compare.
        classes: Number of classes.
        disagreements: Inputs whose argmax classes differ.
        mean_total_variation: Mean of TV(p, q) over the inputs, p the dense network's prediction, q the other's.
        mean_kl: Mean of KL(p‖q) in nats; an estimate of E KL, which no sample bounds.
        accuracy: Upper bound on the difference of the argmax accuracies over the population, whatever the labels are.
        probability: Upper bound on the difference of the mean probabilities of the right label, likewise.
        measurable: Whether the numbers above exist.
        reason: Why they do not; None when they do.
    """

    confidence: float
    samples: int | None = None
    classes: int | None = None
    disagreements: int | None = None
    mean_total_variation: Quantity | None = None
    mean_kl: Quantity | None = None
    accuracy: Bound | None = None
    probability: Bound | None = None
    measurable: bool
    reason: str | None = None


def predictive_of(predictions: Predictions, confidence: float) -> Predictive:
    """The bounds that predictions on a sample prove about the population.

    Args:
        predictions: Of both networks on the same inputs.
        confidence: Probability that each bound is to hold, in (0, 1).

    Returns:
        Counts, estimates with standard errors, and the bounds.

    Raises:
        TheoryError: If the confidence is impossible.
    """
    disagreements = int(predictions.disagrees.sum())
    distances = predictions.total_variation.numpy()
    return Predictive(
        confidence=confidence,
        samples=predictions.samples,
        classes=predictions.classes,
        disagreements=disagreements,
        mean_total_variation=mean_over_samples(predictions.total_variation, "probability"),
        mean_kl=mean_over_samples(predictions.kl, "nats"),
        accuracy=accuracy_from_sample(disagreements, predictions.samples, confidence=confidence),
        probability=measure_from_sample(distances, confidence=confidence),
        measurable=True,
    )


class PredictionWatch:
    """Predictions collected beside an evaluation: outputs that are none end the collection, not the evaluation.

    Args:
        dense: Name of the dense network in the evaluation.
        compressed: Name of the compressed one.
    """

    def __init__(self, dense: str, compressed: str) -> None:
        self._names = dense, compressed
        self._tally = PredictionTally()
        self._reason: str | None = None

    def __call__(self, outputs: Mapping[str, Tensor]) -> None:
        """Take in the outputs of one more batch.

        Args:
            outputs: Name to outputs.
        """
        if self._reason is None:
            try:
                self._tally.add(*(outputs[name] for name in self._names))
            except DataError as error:
                self._reason = str(error)

    def predictive(self, confidence: float) -> Predictive:
        """The bounds, or why there are none.

        Args:
            confidence: Probability that each bound is to hold.
        """
        try:
            if self._reason is None:
                return predictive_of(self._tally.predictions(), confidence)
        except DataError as error:
            self._reason = str(error)
        return Predictive(confidence=confidence, measurable=False, reason=self._reason)
