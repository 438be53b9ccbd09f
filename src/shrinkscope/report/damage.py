"""The table of damage: a row a layer, or a row a group of layers, the most damaged first."""

from collections.abc import Iterable
from typing import Any

import msgspec

from shrinkscope.analysis import Comparison, LayerRecord
from shrinkscope.analysis.group import GroupRecord, merged
from shrinkscope.analysis.grouping import GroupBy, Grouped
from shrinkscope.analysis.order import SMALLEST_FIRST
from shrinkscope.errors import SelectionError
from shrinkscope.report.format import counted, shape
from shrinkscope.report.sheet import Cell, Column, Sheet, quantity_cell, sort_rows, value, whole, words
from shrinkscope.report.vocabulary import heading, term

Row = LayerRecord | GroupRecord

# Field of the record → column. The sort keys of the command line are the fields' names.
_FIELDS: dict[str, Column] = {
    "shape": Column(title="shape", numeric=False, priority=8),
    "measured": Column(title="tensors", priority=4),
    "parameters": Column(title="weights", priority=3),
    "changed": Column(title="changed", status="exact", meaning="Weights whose values differ."),
    "zeros_dense": Column(title="zeros", stage="before, number", status="exact"),
    "zeros": Column(title="zeros", stage="after, number", status="exact"),
    "sparsity_dense": Column(title="zeros", stage="before", unit="%", priority=4, status="exact"),
    "sparsity": Column(
        title="zeros", stage="after", unit="%", status="exact", meaning="Share of the weights that are exactly zero."
    ),
    "zeros_gained": Column(title="zeros", stage="gained", status="exact"),
    "zeros_lost": Column(title="zeros", stage="lost", status="exact"),
    "pattern": Column(
        title="pattern",
        numeric=False,
        status="exact",
        meaning="N:M: of every M weights in a row at most N are not zero.",
        priority=5,
    ),
    "relative_ap2": Column(title="rel. AP2", unit="of ‖ω‖²", status="exact", meaning=term("relative_ap2").meaning),
    "snr_db": Column(
        title="SNR",
        unit="dB",
        status="exact",
        meaning="Signal-to-noise ratio 10·log₁₀(‖ω‖²/‖Δ‖²): 20 dB is a relative AP2 of 1 %.",
        priority=6,
    ),
    "ap2": Column(title="AP2", unit="weight²", status="exact", meaning=term("ap2").meaning, priority=1),
    "cosine": Column(
        title="cosine",
        status="exact",
        meaning="Cosine of the angle between ω and ω̃; 1 is the same direction.",
        priority=5,
    ),
    "max_abs_delta": Column(
        title="max |Δ|", unit="weight", status="exact", meaning="Largest change of a single weight.", priority=6
    ),
    "distinct_dense": Column(title="distinct", stage="before", status="exact"),
    "distinct": Column(title="distinct", stage="after", status="exact", meaning="Different values.", priority=7),
    "effective_bits_dense": Column(title="eff. bits", stage="before", unit="bit", status="exact"),
    "effective_bits": Column(
        title="eff. bits",
        stage="after",
        unit="bit",
        status="exact",
        meaning="Bits a weight that tell the different values apart.",
        priority=6,
    ),
    "effective_rank": Column(
        title="eff. rank",
        stage="of Δ",
        status="exact",
        meaning="In how many directions Δ moves the weights: exp of the entropy of its energy over its singular "
        "vectors; an upper bound for more than 1,024 rows and columns.",
        priority=1,
    ),
}
_KINDS = {"sparsity_dense": "percent", "sparsity": "percent", "cosine": "fine"}
_COUNTS = (
    "measured",
    "parameters",
    "changed",
    "zeros_dense",
    "zeros",
    "zeros_gained",
    "zeros_lost",
    "distinct",
    "distinct_dense",
)
# Of these a table shows what it is sorted by, and of those what any row has.
_ON_DEMAND = ("changed", "zeros_dense", "zeros", "zeros_gained", "zeros_lost", "distinct_dense", "effective_bits_dense")
_IF_ANY = ("shape", "measured", "pattern", "snr_db", "distinct", "effective_bits", "effective_rank")
_WHAT: dict[GroupBy | None, str] = {
    None: "layer",
    "layer": "module",
    "block": "block",
    "role": "role",
    "expert": "expert group",
    "mixture": "mixture or tensor",
}


def layer_sheet(result: Comparison | Grouped, *, sort: str = "relative_ap2", top: int | None = None) -> Sheet:
    """Make the table of the compared layers, or of groups of them, most damaged first.

    Args:
        result: The comparison, or its groups.
        sort: Column to sort by, largest first, or smallest where small means damaged (cosine, SNR): a name of
            ``to_dataframe()`` that holds numbers.
        top: Most rows; all when None.

    Returns:
        A table with a row for every measured layer and a total.

    Raises:
        SelectionError: If there is no such column.
    """
    comparison = result.comparison if isinstance(result, Grouped) else result
    by = result.by if isinstance(result, Grouped) else None
    measured: list[Row] = [row for row in result.rows if row.measurable]
    known = [*_known(measured), *comparison.total.divergences]
    numeric = [name for name in known if _column(name, comparison).numeric]
    if sort not in numeric:
        raise SelectionError(f"cannot sort by {sort!r}; the columns are {', '.join(numeric)}")
    names = [name for name in known if name == sort or name not in _ON_DEMAND]
    total = merged("all", comparison.rows)
    sheet = Sheet(
        title=_title(_WHAT[by], len(measured), top),
        columns=(
            Column(title=_WHAT[by], numeric=False),
            *(_essential(_column(name, comparison), name == sort) for name in names),
        ),
        rows=tuple((_name(row), *(_cell(row, name) for name in names)) for row in measured),
        total=(words("all measured layers"), *(_total(comparison, total, name) for name in names)),
    )
    ordered = sort_rows(sheet, 1 + names.index(sort), ascending=sort in SMALLEST_FIRST)
    return msgspec.structs.replace(ordered, rows=ordered.rows[:top])


def _known(rows: Iterable[Row]) -> list[str]:
    """Columns for which the rows have a field, those of rarer statistics only when any row has a value."""
    listed = list(rows)
    fields = {field for row in listed[:1] or [LayerRecord] for field in row.__struct_fields__}
    return [
        name
        for name in _FIELDS
        if name in fields and (name not in _IF_ANY or any(getattr(row, name) is not None for row in listed))
    ]


def _title(what: str, measured: int, top: int | None) -> str:
    shown = f"{top} of {counted(measured, what)}" if top is not None and top < measured else counted(measured, what)
    return f"Damage by {what} ({shown})"


def _column(name: str, comparison: Comparison) -> Column:
    if name in _FIELDS:
        return _FIELDS[name]
    quantity = comparison.total.divergences[name]
    return Column(
        title=heading(name), unit=quantity.unit, status=quantity.status, meaning=term(name).meaning, priority=2
    )


def _essential(column: Column, essential: bool) -> Column:
    return msgspec.structs.replace(column, priority=0) if essential else column


def _name(row: Row) -> Cell:
    if isinstance(row, GroupRecord):
        return words(row.group, note=row.reason or counted(row.measured, "tensor"))
    return words(row.layer, note=f"{row.role}, {row.dtype}")


def _cell(row: Row, name: str) -> Cell:
    return _written(name, getattr(row, name)) if name in _FIELDS else quantity_cell(row.divergences.get(name))


def _written(name: str, amount: Any) -> Cell:
    if name == "shape":
        return words(shape(amount))
    if name == "pattern":
        return words(amount or "")
    return whole(amount) if name in _COUNTS else value(amount, _KINDS.get(name, "number"))


def _total(comparison: Comparison, together: GroupRecord, name: str) -> Cell:
    if name not in _FIELDS:
        return quantity_cell(comparison.total.divergences.get(name))
    if name in comparison.total.__struct_fields__:  # what the comparison itself says is not said in other digits
        return _written(name, getattr(comparison.total, name))
    # A shape has no total.
    return _cell(together, name) if name in together.__struct_fields__ else Cell("", None)
