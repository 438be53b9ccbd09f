"""The predictive latent of a study: how far predictions on unlabelled images moved, as one more AP3."""

from collections.abc import Callable

from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.experiments.records import NETWORK, Record
from shrinkscope.performance import PredictionTally, mean_over_samples, predictions
from shrinkscope.performance.data import Inputs

METRIC = "ap3_predictive"


def network_record(dense: nn.Module, compressed: nn.Module, inputs: Inputs, epoch: int) -> Record:
    """AP3 of the predictive latent of a whole network, in nats, an estimate with its standard error over the inputs.

    Args:
        dense: The dense network.
        compressed: The compressed one.
        inputs: Inputs, whose targets are not looked at.
        epoch: Epoch of fine-tuning, 0 before it.

    Returns:
        E KL(p‖q) with p and q the predictions of the two; without a value, and with the reason, where a network
        predicts nothing.

    Source: docs/theory.md, the predictive bound.
    """
    return _record(epoch, lambda: predictions(dense, compressed, inputs).kl)


def logits_record(dense: Tensor, compressed: Tensor, epoch: int) -> Record:
    """The same from the logits of both networks on the same inputs.

    Args:
        dense: Logits of the dense network, shape (inputs, classes).
        compressed: Those of the compressed one.
        epoch: Epoch of fine-tuning, 0 before it.
    """

    def distances() -> Tensor:
        tally = PredictionTally()
        tally.add(dense, compressed)
        return tally.predictions().kl

    return _record(epoch, distances)


def _record(epoch: int, distances: Callable[[], Tensor]) -> Record:
    found, reason = None, None
    try:
        found = mean_over_samples(distances(), "nats")
    except DataError as error:
        reason = str(error)
    return Record(
        epoch=epoch,
        layer=NETWORK,
        metric=METRIC,
        value=None if found is None else found.value,
        unit="nats",
        status="estimate",
        standard_error=None if found is None else found.standard_error,
        reason=reason,
    )
