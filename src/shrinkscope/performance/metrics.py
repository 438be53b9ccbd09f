"""Performance measures: functions of a network's outputs and the targets, with a declared unit.

Any function ``(outputs, targets) -> Tensor`` is a metric. It returns either one value per sample, shape (n,),
whose mean is the network's performance, or a scalar that only exists for a whole set of samples (macro-F1,
AUC, a correlation).
"""

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance.categorical import chunks

Metric = Callable[[Tensor, Tensor], Tensor | float]
Result = TypeVar("Result", bound=Tensor | float)

UNSTATED = "unstated"

NO_TARGET = -100
"""The target of a position that does not count, as in PyTorch's losses."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric says about itself: its unit, and whether it only exists for a whole set of samples."""

    unit: str = UNSTATED
    whole_set: bool = False


def measured_in(
    unit: str, *, whole_set: bool = False
) -> Callable[[Callable[[Tensor, Tensor], Result]], Callable[[Tensor, Tensor], Result]]:
    """Declare the unit of a metric: a decorator that returns a metric which carries the declaration.

    The function given stays as it is, so that another unit can be declared for it elsewhere.

    Args:
        unit: The unit of one value, for example "nats" or "fraction".
        whole_set: True for a metric that must never see a single batch, for example because it needs every
            class. Without it a metric is tried on the first batch, and what it returns there tells whether it
            has a value per sample.

    Returns:
        A decorator.
    """

    def declare(function: Callable[[Tensor, Tensor], Result]) -> Callable[[Tensor, Tensor], Result]:
        @functools.wraps(function)
        def metric(outputs: Tensor, targets: Tensor) -> Result:
            return function(outputs, targets)

        metric.__dict__["declaration"] = Declaration(unit=unit, whole_set=whole_set)
        return metric

    return declare


def declaration_of(metric: Metric) -> Declaration:
    """Return what a metric declared with ``measured_in``, or unit "unstated" when it declared nothing.

    Args:
        metric: Any metric.

    Returns:
        Its declaration.
    """
    declared = getattr(metric, "declaration", None)
    return declared if isinstance(declared, Declaration) else Declaration()


@measured_in("nats")
def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample in nats: minus the log of the softmax probability of its class.

    For sequences of tokens, in nats per token: the mean over the sequence's positions with a target.

    Args:
        outputs: Unnormalised log-probabilities (logits), shape (n, classes), or (n, positions, vocabulary).
        targets: Class indices, shape (n,), integers in [0, classes); or the token that each position is to predict,
            shape (n, positions), −100 where there is none. Nothing is shifted.

    Returns:
        Non-negative float64 values, shape (n,); NaN where the sample's outputs hold NaN or two infinities.

    Raises:
        DataError: If the shapes are not those, or a target is no class of these outputs.

    Source: Equation (1) of the paper with one-hot targets.
    """
    return _mean_of_sequences(_surprise, outputs, targets)


@measured_in("fraction")
def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the largest output is the sample's class, 1 or 0; its mean is the accuracy.

    For sequences of tokens, the share of the sequence's positions with a target where it is.

    Args:
        outputs: Scores of the classes, shape (n, classes), or (n, positions, vocabulary); the first of equal largest
            scores is predicted.
        targets: As for ``cross_entropy``.

    Returns:
        Float64 values, shape (n,); NaN where a score is NaN, because argmax would name that class the
        prediction.

    Raises:
        DataError: If the shapes are not those, or a target is no class of these outputs.
    """
    return _mean_of_sequences(_hits, outputs, targets)


@measured_in("squared units of the target")
def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of each sample, averaged over the sample's entries, in squared units of the target.

    Args:
        outputs: Predictions, shape (n, ...).
        targets: True values with as many entries a sample; (n,) and (n, 1) match, and nothing is broadcast.

    Returns:
        Non-negative float64 values, shape (n,).

    Raises:
        DataError: If a sample's outputs and targets differ in their number of entries.
    """
    if outputs.shape[:1] != targets.shape[:1] or outputs.numel() != targets.numel():
        raise DataError(
            f"squared_error got outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}; "
            "give targets with one entry for every output"
        )
    error = outputs.to(torch.float64) - targets.to(torch.float64).reshape(outputs.shape)
    return error.square().reshape(len(outputs), -1).mean(dim=1)


DEFAULT_METRICS: Mapping[str, Metric] = {"loss": cross_entropy, "accuracy": correct}


def default_metrics(regression: bool) -> Mapping[str, Metric]:
    """What is measured when nobody says: loss (nats) and accuracy (fraction), or the squared error of numbers.

    Args:
        regression: Whether the outputs are numbers.
    """
    return {"squared_error": squared_error} if regression else DEFAULT_METRICS


def _surprise(outputs: Tensor, classes: Tensor) -> Tensor:
    log_probabilities = torch.log_softmax(outputs.to(torch.float64), dim=1)
    return -log_probabilities.gather(1, classes[:, None]).squeeze(1)


def _hits(outputs: Tensor, classes: Tensor) -> Tensor:
    hits = (outputs.argmax(dim=1) == classes).to(torch.float64)
    return hits.masked_fill(outputs.isnan().any(dim=1), torch.nan)


def _mean_of_sequences(row: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
    """One value a sample: of its row of scores, or the mean over its rows that have a target."""
    if outputs.ndim != 3:
        return row(outputs, _class_indices(outputs, targets))
    if targets.shape != outputs.shape[:2]:
        raise DataError(
            f"outputs of shape {tuple(outputs.shape)} are scores of tokens (n, positions, vocabulary), targets have "
            f"shape {tuple(targets.shape)}; give the token of each position, shape {tuple(outputs.shape[:2])}"
        )
    counted = (targets != NO_TARGET).nonzero()
    sums = torch.zeros(len(outputs), dtype=torch.float64)
    # In parts: no float64 copy of all scores exists at any time.
    for part in chunks(len(counted), outputs.shape[2]):
        sequence, position = counted[part].unbind(dim=1)
        scores = outputs[sequence, position]
        sums.index_add_(0, sequence, row(scores, _class_indices(scores, targets[sequence, position])))
    counts = torch.bincount(counted[:, 0], minlength=len(outputs))
    if not counts.all():
        raise DataError(
            f"sequence {int((counts == 0).nonzero()[0])} of a batch has no target but {NO_TARGET}; leave it out"
        )
    return sums / counts


def _class_indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the targets as int64 after checking that each names a class of these outputs."""
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise DataError(
            f"expected outputs of shape (n, classes) and targets of shape (n,), got {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}; give class indices, or a metric for outputs of this kind"
        )
    if targets.is_floating_point() or targets.is_complex():
        raise DataError(f"targets have type {targets.dtype}, expected integer class indices; convert them with .long()")
    classes, count = targets.to(torch.int64), outputs.shape[1]
    outside = (classes < 0) | (classes >= count)
    if outside.any():
        raise DataError(
            f"target {int(classes[outside][0])} is none of the {count} classes of the outputs (0 to {count - 1}); "
            "check that the data belong to this network"
        )
    return classes
