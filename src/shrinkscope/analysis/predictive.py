"""What two networks' predictions on inputs alone prove about their performance, as an explanation holds it."""

from collections.abc import Mapping

import msgspec
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance import Kind, PredictiveDistances, PredictiveTally, Reading, divergence_of
from shrinkscope.quantity import Quantity
from shrinkscope.theory import Bound
from shrinkscope.theory.predictive import accuracy_from_sample, accuracy_from_shares, measure_from_sample


class Predictive(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on the performance difference from unlabelled inputs, each at the stated confidence.

    Each bound holds with probability ``confidence`` over the drawing of the inputs; that both hold has a probability of
    at least 2·confidence − 1.

    Attributes:
        confidence: Probability that each bound holds.
        kind: What the networks predict; None when there are no predictions to compare.
        samples: Number of inputs, the units that are independent of each other: for tokens, of sequences.
        positions: Number of positions that counted; None unless tokens are predicted.
        classes: Number of classes, or of tokens in the vocabulary; None for regression.
        scale: Standard deviation of a regression's prediction; None otherwise.
        disagreements: Inputs whose argmax classes differ; None unless classes are predicted.
        mean_disagreement: Mean over the sequences of the share of positions whose argmax differs, for tokens; of the
            inputs, for classes.
        mean_total_variation: Mean of TV(p, q) over the inputs, p the dense network's prediction, q the other's; for
            tokens, averaged over each sequence first.
        mean_kl: Mean of KL(p‖q) in nats, for tokens per token; an estimate of E KL, which no sample bounds.
        accuracy: Upper bound on the difference of the argmax accuracies over the population, whatever the labels are:
            for tokens, of the mean over sequences of the share of positions that are right. None for regression.
        probability: Upper bound on the difference of the mean probabilities of the right label, likewise. For
            regression, of the mean of any measure in [0, 1] of the number that a network's prediction N(f(x), s²I)
            draws, such as the probability that it is within a tolerance of the truth.
        measurable: Whether the numbers above exist.
        reason: Why they do not; None when they do.
    """

    confidence: float
    kind: Kind | None = None
    samples: int | None = None
    positions: int | None = None
    classes: int | None = None
    scale: float | None = None
    disagreements: int | None = None
    mean_disagreement: Quantity | None = None
    mean_total_variation: Quantity | None = None
    mean_kl: Quantity | None = None
    accuracy: Bound | None = None
    probability: Bound | None = None
    measurable: bool
    reason: str | None = None


def predictive_of(found: PredictiveDistances, confidence: float) -> Predictive:
    """The bounds that predictions on a sample prove about the population.

    Args:
        found: Distances between both networks' predictions on the same inputs.
        confidence: Probability that each bound is to hold, in (0, 1).

    Returns:
        Counts, estimates with standard errors, and the bounds.

    Raises:
        TheoryError: If the confidence is impossible.
    """
    means, share = divergence_of(found), found.disagreement
    disagreements = int(share.sum()) if share is not None and found.kind == "classes" else None
    if disagreements is not None:
        accuracy = accuracy_from_sample(disagreements, found.samples, confidence=confidence)
    else:
        accuracy = None if share is None else accuracy_from_shares(share.numpy(), confidence=confidence)
    return Predictive(
        confidence=confidence,
        kind=found.kind,
        samples=found.samples,
        positions=found.positions,
        classes=found.classes,
        scale=found.scale,
        disagreements=disagreements,
        mean_disagreement=means.disagreement,
        mean_total_variation=means.total_variation,
        mean_kl=means.kl,
        accuracy=accuracy,
        probability=measure_from_sample(found.total_variation.numpy(), confidence=confidence),
        measurable=True,
    )


class PredictionWatch:
    """Predictions collected beside an evaluation: outputs that are none end the collection, not the evaluation.

    Args:
        dense: Name of the dense network in the evaluation.
        compressed: Name of the compressed one.
        reading: How the outputs are read.
    """

    def __init__(self, dense: str, compressed: str, reading: Reading) -> None:
        self._names, self._reading = (dense, compressed), reading
        self._tally = PredictiveTally(reading)
        self._reason: str | None = None

    def __call__(self, outputs: Mapping[str, Tensor], inputs: Tensor) -> None:
        """Take in the outputs of one more batch.

        Args:
            outputs: Name to outputs.
            inputs: What they are for.
        """
        if self._reason is None:
            try:
                dense, compressed = (outputs[name] for name in self._names)
                self._tally.add(dense, compressed, self._reading.counts(inputs))
            except DataError as error:
                self._reason = str(error)

    def predictive(self, confidence: float) -> Predictive:
        """The bounds, or why there are none.

        Args:
            confidence: Probability that each bound is to hold.
        """
        try:
            if self._reason is None:
                return predictive_of(self._tally.distances(), confidence)
        except DataError as error:
            self._reason = str(error)
        return Predictive(confidence=confidence, measurable=False, reason=self._reason)
