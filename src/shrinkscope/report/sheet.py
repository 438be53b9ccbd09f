"""A table before it is drawn: the same cells go to the terminal and into the HTML report."""

import math
from collections.abc import Sequence
from functools import partial

import msgspec

from shrinkscope.quantity import Quantity
from shrinkscope.report.format import NOT_AVAILABLE, ellipsis, number, percent, points, printable, shorten, with_error

_BETWEEN = 2  # characters between two columns
_EDGES = 2  # characters of both edges of a table
_KINDS = {"number": number, "fine": partial(number, digits=4), "percent": percent, "points": points}


class Cell(msgspec.Struct, frozen=True):
    """One cell.

    Attributes:
        text: What is written.
        order: What rows are sorted by: a number, or a text; ``None`` (not available) sorts last.
        note: More about the value, such as its spread over trials; empty when there is nothing to add.
    """

    text: str
    order: float | str | None
    note: str = ""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column.

    Attributes:
        title: Heading.
        stage: Second line of the heading, such as when it was measured.
        unit: Unit of its values.
        status: ``exact``, ``bound`` or ``estimate``; empty for names and counts.
        meaning: One sentence for the legend; empty when the heading says it all.
        numeric: Whether it is aligned right and sorted as numbers.
        priority: 0 stays always; in a narrow terminal the largest go first.
    """

    title: str
    stage: str = ""
    unit: str = ""
    status: str = ""
    meaning: str = ""
    numeric: bool = True
    priority: int = 0


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A table.

    Attributes:
        title: What it shows.
        columns: Its columns.
        rows: Cells, a row as long as the columns.
        total: A last row that stays last when sorted, or ``None``.
        groups: Index of every row before which a line separates groups.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] | None = None
    groups: frozenset[int] = frozenset()


def value(amount: float | None, kind: str = "number", note: str = "") -> Cell:
    """Make the cell of a number.

    Args:
        amount: The number; ``None`` and NaN mean that it is not available.
        kind: ``number``, ``fine`` for one digit more, ``percent`` of a fraction, or percentage ``points`` of a
            difference of fractions.
        note: More about it.

    Returns:
        The cell, sorted by the number.

    >>> value(0.25, "percent").text, value(None).text, value(None).order
    ('25.0 %', 'n/a', None)
    """
    text = _KINDS[kind](amount)
    return Cell(text, None if text == NOT_AVAILABLE else amount, note)


def whole(amount: int | None) -> Cell:
    """Make the cell of a count.

    >>> whole(12345).text
    '12,345'
    """
    return Cell(NOT_AVAILABLE if amount is None else f"{amount:,}", amount)


def quantity_cell(quantity: Quantity | None) -> Cell:
    """Make the cell of a reported number, with its standard error where it has one; its note is its status."""
    if quantity is None:
        return value(None, note="undefined for this layer")
    return Cell(with_error(quantity.value, quantity.standard_error), quantity.value, note=quantity.status)


def words(text: str, note: str = "") -> Cell:
    """Make the cell of a name; control characters are shown, not obeyed."""
    return Cell(printable(text), printable(text), note)


def fit(sheets: Sequence[Sheet], width: int) -> list[Sheet]:
    """Leave out the same columns of tables that share their columns, the least important first, until all fit.

    Args:
        sheets: The tables.
        width: Characters of a line.

    Returns:
        The tables with fewer columns; those of priority 0 stay even when they do not fit.
    """
    if not sheets:
        return []
    columns = sheets[0].columns
    widths = [max(_width(sheet, index) for sheet in sheets) for index in range(len(columns))]
    kept = list(range(len(columns)))
    while sum(widths[index] for index in kept) + _EDGES > width:
        worst = max(kept, key=lambda index: (columns[index].priority, index))
        if columns[worst].priority == 0:
            break
        kept.remove(worst)
    return [only(sheet, kept) for sheet in sheets]


def narrowed(sheet: Sheet, width: int) -> Sheet:
    """Cut the longest texts of a table that is too wide, so that no number has to be cut.

    Args:
        sheet: The table.
        width: Characters of a line; the first column, whose texts are names, loses their beginnings, the others lose
            their ends.

    Returns:
        The table; still too wide if its numbers and headings alone are.
    """
    widths = [_width(sheet, index) for index in range(len(sheet.columns))]
    least = [_heading_width(column) for column in sheet.columns]
    texts = [index for index, column in enumerate(sheet.columns) if not column.numeric]
    while sum(widths) + _EDGES > width:
        longest = max(texts, key=lambda index: widths[index] - least[index], default=None)
        if longest is None or widths[longest] <= least[longest]:
            break
        widths[longest] -= 1
    total = None if sheet.total is None else _cut(sheet.total, texts, widths)
    return msgspec.structs.replace(sheet, rows=tuple(_cut(row, texts, widths) for row in sheet.rows), total=total)


def _cut(row: tuple[Cell, ...], texts: Sequence[int], widths: Sequence[int]) -> tuple[Cell, ...]:
    cut = list(row)
    for index in texts:
        room = widths[index] - _BETWEEN
        shorter = shorten(row[index].text, room) if index == 0 else ellipsis(row[index].text, room)
        cut[index] = msgspec.structs.replace(row[index], text=shorter)
    return tuple(cut)


def left_out(whole: Sheet, fitted: Sheet) -> list[str]:
    """Name the columns of a table that did not fit."""
    kept = {(column.title, column.stage) for column in fitted.columns}
    missing = [column for column in whole.columns if (column.title, column.stage) not in kept]
    return [f"{column.title} {column.stage}".strip() for column in missing]


def only(sheet: Sheet, kept: list[int]) -> Sheet:
    """Keep the columns of these indices."""
    return msgspec.structs.replace(
        sheet,
        columns=tuple(sheet.columns[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in sheet.rows),
        total=None if sheet.total is None else tuple(sheet.total[index] for index in kept),
    )


def sort_rows(sheet: Sheet, column: int, *, ascending: bool = False) -> Sheet:
    """Sort rows by a numeric column, largest first unless ascending; those without a value last, in their order."""

    def key(row: tuple[Cell, ...]) -> float:
        order = row[column].order
        if not isinstance(order, (int, float)):
            return math.inf
        return order if ascending else -order

    return msgspec.structs.replace(sheet, rows=tuple(sorted(sheet.rows, key=key)), groups=frozenset())


def legend(columns: Sequence[Column]) -> list[Column]:
    """Pick the columns whose meaning a reader has to be told, each heading once."""
    told: dict[str, Column] = {}
    for column in columns:
        if column.meaning and column.status:
            told.setdefault(column.title, column)
    return list(told.values())


def _width(sheet: Sheet, index: int) -> int:
    cells = [row[index].text for row in (*sheet.rows, *([sheet.total] if sheet.total is not None else []))]
    return max(_heading_width(sheet.columns[index]), *(len(text) + _BETWEEN for text in cells), 0)


def _heading_width(column: Column) -> int:
    return max(map(len, (column.title, column.stage, column.unit))) + _BETWEEN
