"""What the paper's released code calls AP3 of a non-diagonal Gaussian, from what a study records anyway."""

import math
from collections.abc import Sequence

from shrinkscope.experiments.records import NETWORK, Record
from shrinkscope.weights import Weights

METRIC = "ap3_gaussian_released"

_EIGENVALUE, _BETA = 0.01, 0.1


def released_records(records: Sequence[Record], weights: Weights) -> list[Record]:
    """√(ΔᵀΣ⁻¹Δ) with Σ = (0.01 · 0.1/√d) I for each layer of d weights and, d theirs together, for the network.

    Equal eigenvalues make Σ a multiple of the identity whatever the rotation is, so that this is AP2 in disguise.

    Args:
        records: Records of one epoch, AP2 among them.
        weights: The dense network.

    Returns:
        One record, in standard deviations, for each of AP2.

    Source: protocol of the paper's released code: no ½, and the root is taken.
    """
    squares = [record for record in records if record.metric == "ap2"]
    layers = {record.layer: math.prod(weights[record.layer].shape) for record in squares if record.layer != NETWORK}
    sizes = layers | {NETWORK: sum(layers.values())}
    return [_record(record, sizes[record.layer]) for record in squares]


def _record(square: Record, size: int) -> Record:
    value = None
    if square.value is not None:
        value = math.sqrt(square.value * math.sqrt(size) / (_EIGENVALUE * _BETA))
    return Record(
        epoch=square.epoch,
        layer=square.layer,
        metric=METRIC,
        value=value,
        unit="standard deviations",
        status="exact",
        reason=square.reason,
    )
