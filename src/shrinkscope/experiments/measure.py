"""The records of one epoch: how far the weights have moved, and what that did to performance."""

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from torch import nn

from shrinkscope.analysis import LayerRecord, Total, compare
from shrinkscope.experiments.config import LatentChoice
from shrinkscope.experiments.data.parts import ImageData
from shrinkscope.experiments.digits import Split
from shrinkscope.experiments.records import NETWORK, Record
from shrinkscope.experiments.settings import StudyError
from shrinkscope.latent import resolve_latents
from shrinkscope.performance import Evaluation, difference_between, evaluate
from shrinkscope.quantity import Quantity
from shrinkscope.weights import COMPRESSIBLE, ROLES, LayerSelection, Weights, open_weights

MEASURED = LayerSelection(roles=tuple(role for role in ROLES if role in COMPRESSIBLE))
"""The layers that records are about: convolutions and linear ones."""


class Reference(msgspec.Struct, frozen=True, eq=False):
    """A dense network as the others of its trial are compared with it.

    Attributes:
        weights: Its weights.
        performance: Its evaluation on each part of the data, ``train`` and ``test``.
    """

    weights: Weights
    performance: dict[str, Evaluation]

    @classmethod
    def of(cls, model: nn.Module, data: Split | ImageData) -> "Reference":
        """Measure a dense network.

        Args:
            model: The network.
            data: The data.

        Returns:
            The reference.
        """
        return cls(open_weights(model), _evaluations(model, data))


def dense_records(reference: Reference) -> list[Record]:
    """Loss in nats and accuracy as a fraction of the dense network, on training and held-out data.

    Args:
        reference: The dense network.

    Returns:
        Estimates with standard errors, at epoch 0.
    """
    return [record for part, found in reference.performance.items() for record in _performance(0, part, found)]


def epoch_records(
    reference: Reference, model: nn.Module, data: Split | ImageData, latents: Sequence[LatentChoice], epoch: int
) -> list[Record]:
    """Everything that a study records of a compressed network at one epoch.

    Args:
        reference: The dense network of its trial.
        model: The compressed network, plain or with its mask held.
        data: The data.
        latents: Latent distributions of the AP3s.
        epoch: Epoch of fine-tuning, 0 before it.

    Returns:
        AP2 in squared weight units, relative AP2, AP3s in nats and sparsity of each convolution and linear layer and
        of all of them together (exact); loss, accuracy and their absolute differences from the dense network, PD, with
        standard errors, the latter paired by sample (estimates).
    """
    compared = compare(reference.weights, model, latents=latents, layers=MEASURED)
    records = weight_records(compared.rows, compared.total, latents, epoch)
    return records + performance_records(reference, _evaluations(model, data), epoch)


def weight_records(
    rows: Sequence[LayerRecord], total: Total, latents: Sequence[LatentChoice], epoch: int
) -> list[Record]:
    """What a study records of weights at one epoch, from a comparison of them with those of the dense network.

    Args:
        rows: The convolutions and linear layers.
        total: All of them together.
        latents: Latent distributions of the AP3s.
        epoch: Epoch of fine-tuning, 0 before it.

    Returns:
        AP2, relative AP2, AP3s and sparsity of each layer, then of the network; all exact.
    """
    columns = [latent.column for latent in resolve_latents(latents)]
    records = [record for row in rows for record in _weights(epoch, row.layer, row, row.reason, columns)]
    missing = {record.metric for record in records if record.value is None}
    for record in _weights(epoch, NETWORK, total, _reasons(rows), columns):
        # A total that leaves a layer out would look like a small one.
        records.append(_unmeasured(record, _reasons(rows)) if record.metric in missing else record)
    return records


def performance_records(reference: Reference, found: Mapping[str, Evaluation], epoch: int) -> list[Record]:
    """What a study records of performance at one epoch: loss, accuracy, and their differences from the dense network.

    Args:
        reference: The dense network of the trial.
        found: Evaluation of the compressed network on each part of the data, on the same samples.
        epoch: Epoch of fine-tuning, 0 before it.

    Returns:
        Estimates with standard errors, those of differences paired by sample.
    """
    records: list[Record] = []
    for part, evaluation in found.items():
        records += _performance(epoch, part, evaluation)
        records += _differences(epoch, part, reference.performance[part], evaluation)
    return records


def _evaluations(model: nn.Module, data: Split | ImageData) -> dict[str, Evaluation]:
    return {"train": evaluate(model, data.train), "test": evaluate(model, data.test)}


def _weights(
    epoch: int, layer: str, row: LayerRecord | Total, reason: str | None, columns: Sequence[str]
) -> Iterator[Record]:
    yield _record(epoch, layer, "ap2", _exact(row.ap2, "weight²"), reason)
    yield _record(epoch, layer, "relative_ap2", _exact(row.relative_ap2, "fraction of ‖ω‖²"), reason)
    for column in columns:
        yield _record(epoch, layer, column, row.divergences.get(column, _exact(None, "nats")), reason)
    yield _record(epoch, layer, "sparsity", _exact(row.sparsity, "fraction"), reason)


def _performance(epoch: int, part: str, found: Evaluation) -> Iterator[Record]:
    for metric, value in found.values.items():
        estimate = Quantity(
            value=value, unit=found.unit(metric), status="estimate", standard_error=found.standard_error(metric)
        )
        yield _record(epoch, NETWORK, f"{metric}_{part}", estimate, f"{found.non_finite} outputs are not finite")


def _differences(epoch: int, part: str, dense: Evaluation, compressed: Evaluation) -> Iterator[Record]:
    # No resamples: the standard error of a mean of paired differences is known without.
    for metric, found in difference_between(dense, compressed, resamples=0).items():
        estimate = Quantity(
            value=math.nan if found.absolute is None else found.absolute,
            unit=found.unit,
            status=found.status,
            standard_error=found.standard_error,
        )
        yield _record(epoch, NETWORK, f"pd_{metric}_{part}", estimate, found.reason)


def _exact(value: float | None, unit: str) -> Quantity:
    return Quantity(value=math.nan if value is None else value, unit=unit)


def _record(epoch: int, layer: str, metric: str, found: Quantity, reason: str | None) -> Record:
    record = Record(
        epoch=epoch,
        layer=layer,
        metric=metric,
        value=found.value,
        unit=found.unit,
        status=found.status,
        standard_error=found.standard_error,
    )
    return record if math.isfinite(found.value) else _unmeasured(record, reason)


def _unmeasured(record: Record, reason: str | None) -> Record:
    return msgspec.structs.replace(record, value=None, standard_error=None, reason=reason or "undefined here")


def _reasons(rows: Sequence[LayerRecord]) -> str | None:
    return "; ".join(f"{row.layer}: {row.reason}" for row in rows if row.reason) or None


def require_accuracy(reference: Reference, trial: int, minimum: float) -> None:
    """Refuse a dense network that is not good enough.

    Args:
        reference: The network.
        trial: Its trial.
        minimum: Accuracy on held-out data that it must have, a fraction.

    Raises:
        StudyError: If it has less.
    """
    accuracy = reference.performance["test"].values["accuracy"]
    if not accuracy >= minimum:
        raise StudyError(
            f"the dense network of trial {trial} has {100 * accuracy:.1f} % accuracy on held-out data, below the "
            f"{100 * minimum:g} % that the study requires; train longer, or lower minimum_accuracy"
        )
