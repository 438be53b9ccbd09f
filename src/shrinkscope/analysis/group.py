"""Several tensors before and after compression merged into one record, as exactly as the tensors themselves."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shrinkscope.analysis.records import LayerRecord
from shrinkscope.quantity import Quantity


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Several tensors before and after compression, as if they were one.

    Attributes:
        group: Its name.
        layers: Names of its tensors, those that could not be measured included.
        measured: How many of them were measured; the numbers below are of these.
        parameters: Their elements.
        changed: Elements whose values differ.
        zeros_dense, zeros: Elements equal to zero before and after.
        sparsity_dense, sparsity: Fraction of elements equal to zero before and after; None without elements.
        zeros_gained, zeros_lost: Elements that became zero, and that ceased to be zero.
        ap2: Σ‖Δ‖² in squared weight units.
        relative_ap2: Σ‖Δ‖²/Σ‖ω‖²; None when all dense weights are zero.
        cosine: Cosine of the angle between all their weights before and after; None when either side is all zero.
        max_abs_delta: max |Δ| in weight units.
        snr_db: 10·log₁₀(Σ‖ω‖²/Σ‖Δ‖²) in dB; None when nothing changed or all dense weights are zero.
        square_dense, square_compressed, product: Σω², Σω̃² and Σωω̃ in squared weight units.
        pattern: The N:M pattern that all of them have; None when they have none or different ones.
        distinct_dense, distinct: The most different values that any of the tensors has; None when any has more than
            1,024.
        effective_bits_dense, effective_bits: Bits a weight when each tensor has a code of its own: the mean of the
            tensors' over their weights; None when any has more than 10 bits.
        effective_rank: Effective rank of the block-diagonal matrix of the tensors' Δ, vectors as matrices of one row;
            None when it was not asked for.
        divergences: Column → sum over the tensors for which it is defined: the divergence of the product measure.
        measurable: Whether any of them was measured.
        reason: How many of them were not measured; None when all were.
    """

    group: str
    layers: tuple[str, ...]
    measured: int
    parameters: int
    changed: int | None = None
    zeros_dense: int | None = None
    zeros: int | None = None
    sparsity_dense: float | None = None
    sparsity: float | None = None
    zeros_gained: int | None = None
    zeros_lost: int | None = None
    ap2: float | None = None
    relative_ap2: float | None = None
    cosine: float | None = None
    max_abs_delta: float | None = None
    snr_db: float | None = None
    square_dense: float | None = None
    square_compressed: float | None = None
    product: float | None = None
    pattern: str | None = None
    distinct_dense: int | None = None
    distinct: int | None = None
    effective_bits_dense: float | None = None
    effective_bits: float | None = None
    effective_rank: float | None = None
    divergences: dict[str, Quantity] = {}
    measurable: bool = True
    reason: str | None = None


TOTAL = "all measured layers"
"""What the row of all layers together is called."""


def flat_group(row: GroupRecord) -> dict[str, Any]:
    """One row with its divergences as plain columns, without the names of its tensors."""
    values = msgspec.structs.asdict(row)
    divergences = values.pop("divergences")
    del values["layers"]
    return values | flat_divergences(divergences)


def merged(name: str, rows: Sequence[LayerRecord]) -> GroupRecord:
    """Merge some rows into one record, exactly: the sums of float64 sums.

    Args:
        name: What to call them.
        rows: Records of tensors; those that were not measured are counted and named, and add nothing.

    Returns:
        The record.
    """
    measured = [row for row in rows if row.measurable]
    layers = tuple(row.layer for row in rows)
    left_out = f"{len(rows) - len(measured)} of {len(rows)} tensors were not measured"
    reason = left_out if len(measured) < len(rows) else None
    if not measured:
        return GroupRecord(group=name, layers=layers, measured=0, parameters=0, measurable=False, reason=reason)
    count = sum(row.parameters for row in measured)
    delta, dense, compressed, product = (
        math.fsum(getattr(row, field) for row in measured)
        for field in ("ap2", "square_dense", "square_compressed", "product")
    )
    norms = math.sqrt(dense) * math.sqrt(compressed)
    return GroupRecord(
        group=name,
        layers=layers,
        measured=len(measured),
        parameters=count,
        changed=_count(measured, "changed"),
        zeros_dense=_count(measured, "zeros_dense"),
        zeros=_count(measured, "zeros"),
        sparsity_dense=_count(measured, "zeros_dense") / count,
        sparsity=_count(measured, "zeros") / count,
        zeros_gained=_count(measured, "zeros_gained"),
        zeros_lost=_count(measured, "zeros_lost"),
        ap2=delta,
        relative_ap2=delta / dense if dense else None,
        cosine=min(1.0, max(-1.0, product / norms)) if norms else None,
        max_abs_delta=max(row.max_abs_delta or 0.0 for row in measured),
        snr_db=decibels(dense, delta),
        square_dense=dense,
        square_compressed=compressed,
        product=product,
        pattern=_shared([row.pattern for row in measured]),
        distinct_dense=_most(measured, "distinct_dense"),
        distinct=_most(measured, "distinct"),
        effective_bits_dense=_mean(measured, "effective_bits_dense"),
        effective_bits=_mean(measured, "effective_bits"),
        effective_rank=block_diagonal_rank(measured),
        divergences=summed([row.divergences for row in measured]),
        reason=reason,
    )


def decibels(signal: float, noise: float) -> float | None:
    """Signal-to-noise ratio 10·log₁₀(signal/noise) in dB; None when either is zero.

    >>> decibels(100.0, 1.0), decibels(1.0, 0.0)
    (20.0, None)
    """
    # A difference of logarithms: the ratio of a norm and a denormal difference would overflow.
    return 10.0 * (math.log10(signal) - math.log10(noise)) if signal > 0 and noise > 0 else None


def summed(layers: Sequence[dict[str, Quantity]]) -> dict[str, Quantity]:
    """Sums of divergences over the layers for which they are defined.

    Estimates of several layers may share their random draws, so their standard errors are added up: the most that the
    standard error of the sum can be.

    Args:
        layers: Column → divergence, for each layer.

    Returns:
        Column → sum.
    """
    totals: dict[str, Quantity] = {}
    for column in dict.fromkeys(column for layer in layers for column in layer):
        parts = [layer[column] for layer in layers if column in layer]
        errors = [part.standard_error for part in parts if part.standard_error is not None]
        totals[column] = Quantity(
            value=math.fsum(part.value for part in parts),
            unit=parts[0].unit,
            status=parts[0].status,
            standard_error=math.fsum(errors) if errors else None,
        )
    return totals


def flat_divergences(divergences: dict[str, Quantity]) -> dict[str, float]:
    """Column → value of divergences, with ``…_standard_error`` for estimates."""
    values: dict[str, float] = {}
    for column, quantity in divergences.items():
        values[column] = quantity.value
        if quantity.standard_error is not None:
            values[f"{column}_standard_error"] = quantity.standard_error
    return values


def _count(rows: Iterable[LayerRecord], field: str) -> int:
    return sum(getattr(row, field) for row in rows)


def _most(rows: Sequence[LayerRecord], field: str) -> int | None:
    values = [getattr(row, field) for row in rows]
    return None if None in values else max(values)


def _mean(rows: Sequence[LayerRecord], field: str) -> float | None:
    values = [getattr(row, field) for row in rows]
    if None in values:
        return None
    total = math.fsum(value * row.parameters for value, row in zip(values, rows, strict=True))
    return total / sum(row.parameters for row in rows)


def block_diagonal_rank(rows: Iterable[LayerRecord]) -> float | None:
    """Effective rank of the matrix that has the Δ of several tensors as its diagonal blocks.

    Its energies are those of all blocks. With w_i the share of block i in Σ‖Δ‖² and r_i its effective rank, the entropy
    of the shares of the whole is Σ w_i (log r_i − log w_i).

    Args:
        rows: Records of tensors; a vector is a matrix of one row.

    Returns:
        The effective rank, without unit; None when nothing changed, or the rank of a changed matrix is not known.

    Source: derived here; tests/analysis/test_group.py compares with the singular values of the block-diagonal matrix.
    """
    moved = [row for row in rows if row.ap2]
    known = [row.effective_rank or (1.0 if len(row.shape) < 2 else None) for row in moved]
    if None in known or not any(row.effective_rank for row in moved):
        return None
    total = math.fsum(row.ap2 or 0.0 for row in moved)
    shares = [(row.ap2 or 0.0) / total for row in moved]
    parts = zip(shares, known, strict=True)
    return math.exp(math.fsum(w * (math.log(r) - math.log(w)) for w, r in parts if r and w > 0))


def _shared(patterns: Sequence[str | None]) -> str | None:
    return patterns[0] if len(set(patterns)) == 1 else None
