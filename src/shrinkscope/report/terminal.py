"""Tables on the terminal, between 80 and 120 columns wide, that say themselves what they show."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import pandas as pd
from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.analysis.wording import predictive_in_words
from shrinkscope.report.compared import not_compared, obstacles, performance_sheet, verdict
from shrinkscope.report.curves import Curves
from shrinkscope.report.damage import layer_sheet
from shrinkscope.report.format import printable, shorten
from shrinkscope.report.gated import gates_in_words
from shrinkscope.report.sheet import Column, Sheet, fit, left_out, legend, words
from shrinkscope.report.summary import PRUNED, TUNED, dense_in_words, summary_sheets

_WIDEST = 120
_MOST_SENTENCES = 12
_RULES = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")


def print_demo(
    records: pd.DataFrame,
    *,
    conclusions: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> None:
    """Print the summary of a study: a table for each scope, a legend, the conclusions, and where the files are.

    Args:
        records: The long table of records.
        conclusions: Sentences computed from the numbers.
        files: What → where, for the last lines.
        console: Where to print; standard output when None.

    Raises:
        StoreError: If the table lacks columns or rows, or records a value twice.
    """
    console = console or Console(highlight=False)
    curves = Curves(records)
    width = min(console.width, _WIDEST)
    whole = summary_sheets(curves)
    sheets = fit(whole, width)
    for sheet in sheets:
        console.print(rich_table(sheet), soft_wrap=False)
    _paragraphs(console, [dense_in_words(curves), _how_to_read(curves), _no_room(whole[0], sheets[0])], width)
    console.print(_legend(sheets[0].columns, width))
    console.print()
    if conclusions:
        console.print(Text("What the numbers say", style="bold"))
        console.print(_listed([f"{index}." for index in range(1, len(conclusions) + 1)], conclusions, width))
        console.print()
    for what, where in (files or {}).items():
        console.print(Text.assemble((f"{what:<14}", "dim"), where), soft_wrap=True)


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
    console = console or Console(highlight=False)
    width = min(console.width, _WIDEST)
    rows = comparison if group_by is None else comparison.grouped_by(group_by)
    sheet = layer_sheet(rows, sort=sort, top=top)
    _paragraphs(console, [_what(comparison), verdict(comparison)], width)
    if sheet.rows:
        (fitted,) = fit([_with_short_names(sheet, width // 2)], width)
        console.print(rich_table(fitted))
        console.print(_legend(fitted.columns, width))
        console.print()
        _paragraphs(console, [_no_room(sheet, fitted)], width)
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
    console = console or Console(highlight=False)
    width = min(console.width, _WIDEST)
    if explanation.performance:
        (sheet,) = fit([performance_sheet(explanation)], width)
        console.print(rich_table(sheet))
        console.print(_legend(sheet.columns, width))
        console.print()
    _paragraphs(console, predictive_in_words(explanation.predictive, explanation.performance), width)
    missing = obstacles(explanation)
    _bullets(console, "Without value or interval", missing, width)
    if missing:
        console.print()
    print_comparison(explanation.comparison, console, sort=sort, top=top)


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


def _no_room(whole: Sheet, fitted: Sheet) -> str:
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
    console.print(_listed(["-"] * len(shown), shown, width))
    if len(sentences) > _MOST_SENTENCES:
        console.print(Text(f" and {len(sentences) - _MOST_SENTENCES} more: see --json or --out"))


def _listed(marks: Sequence[str], sentences: Sequence[str], width: int) -> Table:
    listed = Table(box=None, show_header=False, padding=(0, 0, 0, 1), pad_edge=False, width=width)
    for mark, sentence in zip(marks, sentences, strict=True):
        listed.add_row(Text(mark, style="bold"), Text(sentence))
    return listed


def _how_to_read(curves: Curves) -> str:
    trials = f"means over {curves.trials} trials" if curves.trials > 1 else "one trial"
    return (
        f"{PRUNED}: just after removing weights; {TUNED}: after {curves.last_epoch} epochs of fine-tuning. "
        f"All numbers are {trials}. The smaller AP and PD, the less the network changed."
    )


def _legend(columns: Sequence[Column], width: int) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False, width=width)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for column in legend(columns):
        table.add_row(Text(column.title, style="bold"), Text(column.status, style="dim"), Text(column.meaning))
    return table


def _paragraphs(console: Console, texts: Iterable[str], width: int) -> None:
    written = [text for text in texts if text]
    for text in written:
        console.print(Text(text), width=width)
    if written:
        console.print()
