"""A scan for people: the most damaging candidates, the ranking of the layers, and files."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from rich.console import Console

from shrinkscope.analysis import Scan
from shrinkscope.errors import OutputError
from shrinkscope.files import atomic_path
from shrinkscope.report.format import ellipsis, with_error
from shrinkscope.report.output import WIDEST, standard_output
from shrinkscope.report.sheet import Cell, Column, Sheet, value, whole, words
from shrinkscope.report.terminal import paragraphs, print_sheet
from shrinkscope.report.vocabulary import heading, term

_FIGURES = (".png", ".svg")
_TABLES = (".json", ".csv", ".parquet")

_COLUMNS: dict[str, Column] = {
    "predictive_kl": Column(title="KL", unit="nats", priority=0),
    "total_variation": Column(title="TV", unit="probability", priority=2),
    "disagreement": Column(title="disagree", priority=1),
    "loss_difference": Column(title="Δ loss", unit="nats", priority=1),
    "accuracy_difference": Column(title="Δ accuracy", priority=0),
    "sparsity": Column(title="sparsity", priority=4),
    "relative_ap2": Column(title="rel. AP2", unit="", priority=3),
}
_KINDS = {"disagreement": "percent", "accuracy_difference": "points", "sparsity": "percent"}


def print_scan(scan: Scan, console: Console | None = None, *, sort: str | None = None, top: int | None = None) -> None:
    """Print a scan: what was found, the layers by sensitivity, the most damaging candidates.

    Args:
        scan: The scan.
        console: Where to print; standard output when None.
        sort: Column to sort the candidates by, largest first; the scan's ``damage`` when None.
        top: Most rows of each table; all when None.

    Raises:
        SelectionError: If there is no column of that name.
    """
    console = standard_output(console)
    width = min(console.width, WIDEST)
    by = sort or scan.damage
    sheets = [layer_sheet(scan, top), candidate_sheet(scan, by, top)]
    paragraphs(console, [scan.summary()], width)
    for sheet in sheets:
        print_sheet(sheet, console)


def layer_sheet(scan: Scan, top: int | None) -> Sheet:
    """The layers, the most sensitive first.

    Args:
        scan: The scan.
        top: Most rows; all when None.
    """
    ranking = scan.ranking()
    reasons = {row.layer: row.reason or "" for row in reversed(scan.rows) if not row.measurable}
    rows = [
        (words(entry["layer"]), value(entry["score"]), whole(entry["candidates"]), _note(entry, reasons))
        for entry in ranking.head(len(ranking) if top is None else top).to_dict("records")
    ]
    columns = (
        Column(title="layer", numeric=False),
        Column(title="mean rank", unit=f"0 … 1 by {scan.damage}"),
        Column(title="levels"),
        Column(title="not measured", numeric=False, priority=5),
    )
    return Sheet(title="Layers, the most sensitive first", columns=columns, rows=tuple(rows))


def candidate_sheet(scan: Scan, by: str, top: int | None) -> Sheet:
    """The candidates with the largest values of a column.

    Args:
        scan: The scan.
        by: The column.
        top: Most rows; all when None.

    Raises:
        SelectionError: If there is no such column.
    """
    table = scan.top(len(scan.rows) if top is None else top, by)
    known = set(table.dropna(axis="columns", how="all").columns)
    names = [name for name in dict.fromkeys([by, *_COLUMNS]) if name in known]
    described = [_described(scan, name) for name in names]
    rows = [
        (words(entry["layer"]), words(entry["description"]), *(_cell(entry, name) for name in names))
        for entry in table.to_dict("records")
    ]
    columns = (Column(title="layer", numeric=False), Column(title="compressed by", numeric=False), *described)
    return Sheet(title=f"Candidates, the largest {by} first", columns=columns, rows=tuple(rows))


def save_scan(scan: Scan, path: str | os.PathLike[str]) -> None:
    """Write a scan as data or as a figure, all or nothing.

    Args:
        scan: The scan.
        path: The file; .json has everything, .csv and .parquet the rows, .png and .svg the heat map.

    Raises:
        OutputError: If the suffix is another, or the file cannot be written.
        SelectionError: If a figure is asked for and nothing was measured.
    """
    suffix = Path(path).suffix.lower()
    if suffix in _TABLES:
        scan.save(path)
        return
    if suffix not in _FIGURES:
        raise OutputError(f"cannot write {path}: unknown suffix; expected one of {', '.join((*_TABLES, *_FIGURES))}")
    figure = scan.plot()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _described(scan: Scan, name: str) -> Column:
    column = _COLUMNS.get(name) or Column(title=heading(name), unit=term(name).unit)
    found = next((row.predictive_kl for row in scan.rows if row.predictive_kl is not None), None)
    # For a language model the divergence is one per token.
    return msgspec.structs.replace(column, unit=found.unit) if name == "predictive_kl" and found else column


def _cell(entry: dict[Any, Any], name: str) -> Cell:
    amount, error = entry[name], entry.get(f"{name}_standard_error")
    kind = _KINDS.get(name, "number")
    if amount is None or pd.isna(amount):
        return value(None)
    cell = value(float(amount), kind)
    if error is None or pd.isna(error):
        return cell
    if kind == "number":
        return Cell(with_error(float(amount), float(error)), cell.order)
    return Cell(f"{cell.text} ± {value(float(error), kind).text}", cell.order)


def _note(entry: dict[Any, Any], reasons: dict[str, str]) -> Cell:
    reason = reasons.get(entry["layer"], "")
    return words(ellipsis(reason, 60))
