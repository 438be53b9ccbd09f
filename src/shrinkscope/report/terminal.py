"""Tables on the terminal, between 80 and 120 columns wide, that say themselves what they show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shrinkscope.analysis.wording import predictive_in_words
from shrinkscope.report.compared import not_compared, obstacles, performance_sheet, verdict
from shrinkscope.report.damage import layer_sheet
from shrinkscope.report.format import printable, shorten
from shrinkscope.report.gated import gates_in_words
from shrinkscope.report.output import WIDEST, standard_output
from shrinkscope.report.sheet import Column, Sheet, fit, left_out, legend, narrowed, words

if TYPE_CHECKING:
    from shrinkscope.analysis import Comparison, Explanation

_MOST_SENTENCES = 12
_RULES = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")


def print_comparison(
    comparison: Comparison,
    console: Console | None = None,
    *,
    sort: str = "relative_ap2",
    top: int | None = None,
    group_by: str | None = None,
) -> None:
    """Print a comparison: what changed, the most damaged layers first, and what could not be compared.

    Args:
        comparison: The comparison.
        console: Where to print; standard output when None.
        sort: Column to sort by, most damaged first.
        top: Most rows; all when None.
        group_by: Rows are groups of layers: ``layer``, ``block``, ``role``, ``expert`` or ``mixture``; single layers
            when None.

    Raises:
        SelectionError: If there is no column or no grouping of that name.
    """
    console = standard_output(console)
    width = min(console.width, WIDEST)
    rows = comparison if group_by is None else comparison.grouped_by(group_by)
    sheet = layer_sheet(rows, sort=sort, top=top)
    paragraphs(console, [_what(comparison), verdict(comparison)], width)
    if sheet.rows:
        print_sheet(sheet, console)
    _bullets(console, "Not compared, or only in part", not_compared(comparison), width)


def print_gates(comparison: Comparison, console: Console | None = None) -> None:
    """Print what became of the gates, a line each.

    Args:
        comparison: The comparison, held against gates.
        console: Where to print; standard error when None.
    """
    console = console or Console(stderr=True, highlight=False)
    for sentence in gates_in_words(comparison):
        console.print(Text(f"gate {sentence}"), soft_wrap=True)


def print_explanation(
    explanation: Explanation, console: Console | None = None, *, sort: str = "relative_ap2", top: int | None = None
) -> None:
    """Print an explanation: performance before and after, what is proved about it, the comparison of the weights.

    Args:
        explanation: The explanation.
        console: Where to print; standard output when None.
        sort: Column to sort the layers by, largest first.
        top: Most layers; all when None.

    Raises:
        SelectionError: If there is no column of that name.
    """
    console = standard_output(console)
    width = min(console.width, WIDEST)
    if explanation.performance:
        print_sheet(performance_sheet(explanation), console)
    paragraphs(console, predictive_in_words(explanation.predictive, explanation.performance), width)
    missing = obstacles(explanation)
    _bullets(console, "Without value or interval", missing, width)
    if missing:
        console.print()
    print_comparison(explanation.comparison, console, sort=sort, top=top)


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a table with the columns that there is room for, what they mean, and what there was no room for.

    Args:
        sheet: The table.
        console: Where to print; no more than ``WIDEST`` columns of it are used.
    """
    width = min(console.width, WIDEST)
    (fitted,) = fit([_with_short_names(sheet, width // 2)], width)
    fitted = narrowed(fitted, width)
    console.print(rich_table(fitted))
    if legend(fitted.columns):
        console.print(legend_table(fitted.columns, width))
    console.print()
    paragraphs(console, [no_room(sheet, fitted)], width)


def rich_table(sheet: Sheet, caption: str = "") -> Table:
    """Draw a table for the terminal; texts are never read as markup."""
    table = Table(
        title=Text(sheet.title, style="bold"),
        title_justify="left",
        caption=Text(caption) if caption else None,
        box=_RULES,
        padding=(0, 1, 0, 0),
        show_footer=sheet.total is not None,
    )
    used = [field for field in ("stage", "unit") if any(getattr(column, field) for column in sheet.columns)]
    for index, column in enumerate(sheet.columns):
        footer = sheet.total[index].text if sheet.total is not None else ""
        table.add_column(
            _heading(column, used),
            justify="right" if column.numeric else "left",
            no_wrap=True,
            overflow="ellipsis",
            footer=Text(footer, style="bold"),
        )
    for index, row in enumerate(sheet.rows):
        if index in sheet.groups:
            table.add_section()
        table.add_row(*(Text(cell.text) for cell in row))
    return table


def _heading(column: Column, below: Iterable[str]) -> Text:
    lines = Text(column.title, style="bold")
    for field in below:
        lines.append(f"\n{getattr(column, field)}", style="not bold dim")
    return lines


def _what(comparison: Comparison) -> str:
    return f"{printable(comparison.settings.dense)} → {printable(comparison.settings.compressed)}"


def no_room(whole: Sheet, fitted: Sheet) -> str:
    """Name the columns that a table had to leave out; an empty text when there are none."""
    missing = left_out(whole, fitted)
    return f"No room here for: {', '.join(missing)}; use a wider terminal or a file." if missing else ""


def _with_short_names(sheet: Sheet, longest: int) -> Sheet:
    rows = tuple((words(shorten(row[0].text, longest)), *row[1:]) for row in sheet.rows)
    return msgspec.structs.replace(sheet, rows=rows)


def _bullets(console: Console, title: str, sentences: Sequence[str], width: int) -> None:
    if not sentences:
        return
    console.print()
    console.print(Text(title, style="bold"))
    shown = sentences[:_MOST_SENTENCES]
    console.print(listed(["-"] * len(shown), shown, width))
    if len(sentences) > _MOST_SENTENCES:
        console.print(Text(f" and {len(sentences) - _MOST_SENTENCES} more: see --json or --out"))


def listed(marks: Sequence[str], sentences: Sequence[str], width: int) -> Table:
    """Sentences with a mark before each."""
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 1), pad_edge=False, width=width)
    for mark, sentence in zip(marks, sentences, strict=True):
        table.add_row(Text(mark, style="bold"), Text(sentence))
    return table


def legend_table(columns: Sequence[Column], width: int) -> Table:
    """What the columns mean that a reader has to be told of."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False, width=width)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for column in legend(columns):
        table.add_row(Text(column.title, style="bold"), Text(column.status, style="dim"), Text(column.meaning))
    return table


def paragraphs(console: Console, texts: Iterable[str], width: int) -> None:
    """Print texts a paragraph each, and a blank line behind; empty ones are passed over."""
    written = [text for text in texts if text]
    for text in written:
        console.print(Text(text), width=width)
    if written:
        console.print()
