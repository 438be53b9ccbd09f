"""The order of rows: the most damaged first."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from shrinkscope.analysis.group import GroupRecord
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.errors import SelectionError

Row = TypeVar("Row", bound=LayerRecord | GroupRecord)

SMALLEST_FIRST = ("cosine", "snr_db", "distinct", "distinct_dense", "effective_bits", "effective_bits_dense")
"""Columns in which less left is more damage."""


def worst_first(rows: Iterable[Row], column: str) -> tuple[Row, ...]:
    """Sort rows by a column: the largest value first, or the smallest of ``SMALLEST_FIRST``.

    Args:
        rows: Records of tensors or of groups.
        column: A number of theirs, or one of their divergences.

    Returns:
        The rows; equal ones stay in their order, and those without a value come last.

    Raises:
        SelectionError: If no row has numbers of that name.
    """
    listed = list(rows)
    numbers = {row_index: number_of(row, column) for row_index, row in enumerate(listed)}
    known = {index: number for index, number in numbers.items() if number is not None}
    if listed and not known and column not in _numeric(listed):
        raise SelectionError(f"cannot sort by {column!r}; the columns are {', '.join(_numeric(listed))}")
    sign = 1.0 if column in SMALLEST_FIRST else -1.0
    order = sorted(range(len(listed)), key=lambda index: sign * known[index] if index in known else math.inf)
    return tuple(listed[index] for index in order)


def require_column(column: str, divergences: Iterable[str], *, grouped: bool = False, rank: bool = False) -> None:
    """Check that there may be a column to sort by, before hours go into a comparison.

    Args:
        column: What somebody wrote.
        divergences: Columns of the latents.
        grouped: Whether the rows are groups.
        rank: Whether the effective rank is computed.

    Raises:
        SelectionError: If no row will have numbers of that name; the message names the one that may have been meant.
    """
    fields = msgspec.structs.fields(GroupRecord if grouped else LayerRecord)
    numeric = [field.name for field in fields if {int, float} & _kinds(field.type)]
    known = [name for name in (*numeric, *divergences) if rank or name != "effective_rank"]
    if column not in known:
        near = get_close_matches(column, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        hint = "it is computed with --rank alone; " if column == "effective_rank" else hint
        raise SelectionError(f"cannot sort by {column!r}; {hint}the columns are {', '.join(known)}")


def _kinds(declared: Any) -> set[Any]:
    """The types that a field may have; a tuple of numbers is no number."""
    return {declared} if get_origin(declared) is tuple else {declared, *get_args(declared)}


def number_of(row: LayerRecord | GroupRecord, column: str) -> float | None:
    """A number of a row by its name; None where the row has none.

    Args:
        row: The record.
        column: A field that holds a number, or a divergence.
    """
    found = getattr(row, column, None)
    if found is None and column in row.divergences:
        found = row.divergences[column].value
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) and not math.isnan(found) else None


def _numeric(rows: list[Row]) -> list[str]:
    """Columns that hold a number in any row."""
    fields = [*rows[0].__struct_fields__, *(name for row in rows for name in row.divergences)]
    return [name for name in dict.fromkeys(fields) if any(number_of(row, name) is not None for row in rows)]
