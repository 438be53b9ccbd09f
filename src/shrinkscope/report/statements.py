"""The paper's statements put to the test, and the sparsity they allow, as tables."""

import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from shrinkscope.analysis import OptimalSparsity, SparsityCurve
from shrinkscope.analysis.statements import StatementRow
from shrinkscope.analysis.statements.table import StatementTable
from shrinkscope.errors import OutputError
from shrinkscope.files import write_text
from shrinkscope.report.format import NOT_AVAILABLE, number, percent, points
from shrinkscope.report.output import WIDEST, standard_output
from shrinkscope.report.sheet import Cell, Column, Sheet, value, whole, words
from shrinkscope.report.terminal import print_sheet

SUFFIXES = (".csv", ".json", ".md", ".parquet")

_COLUMNS = (
    Column(title="statement", numeric=False),
    Column(title="form", numeric=False),
    Column(title="tried", priority=2),
    Column(title="violated"),
    Column(title="void", priority=1),
    Column(title="bound", stage="median"),
    Column(title="measured", stage="median"),
    Column(title="tightness", stage="median"),
    Column(title="unit", numeric=False, priority=3),
)

HOW_TO_READ = (
    "violated: instances in which the quantity is where the statement says it cannot be; void: instances in which the "
    "statement says nothing (an infinite bound). tightness: bound over measured, for lower bounds measured over bound; "
    "1 is tight and below 1 is wrong. published: as printed; corrected: what the argument gives; the rest are better "
    "arguments. docs/theory.md has all of them."
)
"""What the columns mean."""


def statement_sheet(table: StatementTable, case: str) -> Sheet:
    """The table of one case, in the order of the paper.

    Args:
        table: All statements.
        case: Which case.

    Returns:
        A row for each statement and form that was tried.
    """
    rows = [row for row in table.rows if row.case == case and row.instances]
    groups = {index for index, row in enumerate(rows) if index and row.statement != rows[index - 1].statement}
    return Sheet(
        title=table.cases[case],
        columns=_COLUMNS,
        rows=tuple(_cells(row) for row in rows),
        groups=frozenset(groups),
    )


def untried_in_words(table: StatementTable) -> list[str]:
    """A sentence for each statement that could not be tried in a case."""
    return [f"{row.case}, {row.statement}: {row.reason}" for row in table.rows if row.reason]


def sparsity_sheet(found: OptimalSparsity) -> Sheet:
    """The optimal sparsity of the network and of each layer.

    Args:
        found: The curves.

    Returns:
        A row a curve; a layer without a bound says so.
    """
    metrics = list(
        dict.fromkeys(metric for curve in found.curves for point in curve.points for metric in point.measured)
    )
    columns = (
        Column(title="layer", numeric=False),
        Column(title="sparsity", stage="largest"),
        Column(title="AP2", unit="weight²", priority=2),
        Column(title="rel. AP2", priority=1),
        Column(title="bound", stage=found.unit if found.unit != "fraction" else ""),
        *(Column(title=metric, stage="measured") for metric in metrics),
    )
    rows = tuple(_sparsity_cells(curve, metrics, found.unit) for curve in found.curves)
    return Sheet(title=found.summary().splitlines()[0].rstrip(":"), columns=columns, rows=rows)


def print_statements(table: StatementTable, console: Console | None = None) -> None:
    """Print a table for each case, what was not tried, what failed, and the sparsity that the bound allows.

    Args:
        table: All statements.
        console: Where to print; standard output when None.
    """
    console = standard_output(console)
    width = min(console.width, WIDEST)
    for case in table.cases:
        print_sheet(statement_sheet(table, case), console)
    for text in (HOW_TO_READ, *untried_in_words(table), table.summary()):
        console.print(Text(text), width=width)
        console.print()
    if table.sparsity is not None:
        print_sheet(sparsity_sheet(table.sparsity), console)


def save_statements(table: StatementTable, path: str | os.PathLike[str]) -> None:
    """Write the statements as data or as text, all or nothing.

    Args:
        table: All statements.
        path: The file; .md has the tables of all cases, .json everything, .csv and .parquet the rows.

    Raises:
        OutputError: If the suffix is another, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"cannot write {path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    if suffix == ".md":
        write_text(path, statements_in_markdown(table))
    else:
        table.save(path)


def statements_in_markdown(table: StatementTable) -> str:
    """The tables of all cases, and of the optimal sparsity, in Markdown.

    Args:
        table: All statements.
    """
    sheets = [statement_sheet(table, case) for case in table.cases]
    sheets += [] if table.sparsity is None else [sparsity_sheet(table.sparsity)]
    return "\n".join(line for sheet in sheets for line in _markdown(sheet)) + "\n"


def _cells(row: StatementRow) -> tuple[Cell, ...]:
    infinite = Cell("∞", float("inf"))
    bound = infinite if row.bound is None else value(row.bound)
    tightness = infinite if row.tightness is None else value(row.tightness)
    return (
        words(row.statement),
        words(row.form),
        whole(row.instances),
        whole(row.violations),
        whole(row.void),
        bound,
        value(row.measured),
        tightness,
        words(row.unit),
    )


def _sparsity_cells(curve: SparsityCurve, metrics: list[str], unit: str) -> tuple[Cell, ...]:
    found = curve.optimal
    if found is None:
        text = NOT_AVAILABLE if curve.reason else f"below {percent(curve.points[0].sparsity, 0)}"
        return (words(curve.layer), Cell(text, None), *[value(None)] * (3 + len(metrics)))
    measured = [found.measured[metric] for metric in metrics]
    return (
        words(curve.layer),
        value(found.sparsity, "percent"),
        value(found.ap2),
        value(found.relative_ap2),
        Cell(points(found.bound) if unit == "fraction" else number(found.bound), found.bound),
        *(value(one.difference, "points" if one.unit == "fraction" else "number") for one in measured),
    )


def _markdown(sheet: Sheet) -> Iterator[str]:
    yield f"**{sheet.title[:1].upper()}{sheet.title[1:]}**"
    yield ""
    yield "| " + " | ".join(f"{column.title} {column.stage}".strip() for column in sheet.columns) + " |"
    yield "|" + "|".join("---:" if column.numeric else "---" for column in sheet.columns) + "|"
    for row in sheet.rows:
        yield "| " + " | ".join(cell.text.replace("|", "\\|") for cell in row) + " |"
    yield ""
