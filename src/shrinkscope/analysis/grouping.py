"""The rows of a comparison merged into groups: modules, numbered blocks, parts that many blocks have, experts."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from shrinkscope.analysis.place import place_of, pooled_expert, without_weight
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.errors import SelectionError
from shrinkscope.files import json_text, save_table
from shrinkscope.quantity import Quantity

if TYPE_CHECKING:
    import pandas as pd

    from shrinkscope.analysis.comparison import Comparison

GroupBy = Literal["layer", "block", "role", "expert"]
GROUPINGS: tuple[GroupBy, ...] = get_args(GroupBy)


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Several tensors before and after compression, as if they were one.

    Attributes:
        group: Its name.
        layers: Names of its tensors, those that could not be measured included.
        measured: How many of them were measured; the numbers below are of these.
        parameters: Their elements.
        changed: Elements whose values differ.
        sparsity_dense, sparsity: Fraction of elements equal to zero before and after; None without elements.
        zeros_gained, zeros_lost: Elements that became zero, and that ceased to be zero.
        ap2: Σ‖Δ‖² in squared weight units.
        relative_ap2: Σ‖Δ‖²/Σ‖ω‖²; None when all dense weights are zero.
        cosine: Cosine of the angle between all their weights before and after; None when either side is all zero.
        max_abs_delta: max |Δ| in weight units.
        snr_db: 10·log₁₀(Σ‖ω‖²/Σ‖Δ‖²) in dB; None when nothing changed or all dense weights are zero.
        square_dense, square_compressed, product: Σω², Σω̃² and Σωω̃ in squared weight units.
        pattern: The N:M pattern that all of them have; None when they have none or different ones.
        divergences: Column → sum over the tensors for which it is defined: the divergence of the product measure.
        measurable: Whether any of them was measured.
        reason: How many of them were not measured; None when all were.
    """

    group: str
    layers: tuple[str, ...]
    measured: int
    parameters: int
    changed: int | None = None
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
    divergences: dict[str, Quantity] = {}
    measurable: bool = True
    reason: str | None = None


class Grouped(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison by groups.

    Attributes:
        by: What the groups are.
        rows: One record a group, in the order of the dense network.
        comparison: What was grouped.
    """

    by: GroupBy
    rows: tuple[GroupRecord, ...]
    comparison: "Comparison"

    def to_dataframe(self) -> "pd.DataFrame":
        """The groups as a pandas table; their tensors are counted in ``measured`` and not listed."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])

    def to_json(self) -> str:
        """The whole comparison as JSON text, with the groups in ``groups``."""
        record = msgspec.to_builtins(self.comparison.record()) | {"gates": self.comparison.gates}
        return json_text(record | {"groups": {"by": self.by, "rows": self.rows}})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole to a .json file, or the groups alone to a .csv or .parquet file, all or nothing.

        Args:
            path: The file; its suffix decides the format.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        save_table(path, self.to_json, self.to_dataframe)


def group_rows(rows: Iterable[LayerRecord], by: str) -> tuple[GroupRecord, ...]:
    """Merge rows that belong together: counts and sums add up, maxima are maxima, ratios are taken of the sums.

    Args:
        rows: Records of tensors.
        by: ``layer`` for the tensors of a module (weight and bias), ``block`` for the numbered units of the network,
            ``role`` for the same part of all blocks, ``expert`` for the same part of all experts of a block.

    Returns:
        Groups in the order of their first tensors.

    Raises:
        SelectionError: If there is no such grouping.

    Source: derived here; tests/analysis/test_grouping.py compares with the concatenated tensors.
    """
    require_grouping(by)
    members: dict[str, list[LayerRecord]] = {}
    for row in rows:
        members.setdefault(group_key(row.layer, by), []).append(row)
    return tuple(merged(name, group) for name, group in members.items())


def require_grouping(by: str) -> None:
    """Check that there is such a grouping.

    Args:
        by: What somebody wrote.

    Raises:
        SelectionError: If there is none; the message names the one that may have been meant.
    """
    if by not in GROUPINGS:
        near = get_close_matches(by, GROUPINGS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SelectionError(f"cannot group by {by!r}; {hint}the groupings are {', '.join(GROUPINGS)}")


def group_key(name: str, by: str) -> str:
    """The group that a tensor belongs to.

    Args:
        name: The tensor's name.
        by: What the groups are.

    Returns:
        The group's name.

    >>> group_key("model.layers.3.mlp.up_proj.weight", "block"), group_key("model.layers.3.mlp.up_proj.weight", "role")
    ('model.layers.3', 'mlp.up_proj')
    """
    return _KEYS[by](name)


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
        sparsity_dense=_zeros(measured, "sparsity_dense") / count,
        sparsity=_zeros(measured, "sparsity") / count,
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
        pattern=_shared([getattr(row, "pattern", None) for row in measured]),
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


def _role(name: str) -> str:
    place = place_of(name)
    return place.part if place.numbered else without_weight(name)


_KEYS: dict[str, Callable[[str], str]] = {
    "layer": lambda name: name.rpartition(".")[0] or name,
    "block": lambda name: place_of(name).block,
    "role": _role,
    "expert": lambda name: without_weight(pooled_expert(name)),
}


def _count(rows: Iterable[LayerRecord], field: str) -> int:
    return sum(getattr(row, field) for row in rows)


def _zeros(rows: Iterable[LayerRecord], field: str) -> int:
    # A fraction of fewer than 2^52 elements times their number is less than half an element from the count.
    return sum(round(getattr(row, field) * row.parameters) for row in rows)


def _shared(patterns: Sequence[str | None]) -> str | None:
    return patterns[0] if len(set(patterns)) == 1 else None


def _flat(row: GroupRecord) -> dict[str, Any]:
    values = msgspec.structs.asdict(row)
    del values["layers"]
    return {name: value for name, value in values.items() if name != "divergences"} | flat_divergences(row.divergences)
