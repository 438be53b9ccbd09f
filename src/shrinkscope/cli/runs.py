"""``shrinkscope runs STORE``: what a store of records holds, and its export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shrinkscope.cli.options import Json

if TYPE_CHECKING:
    from shrinkscope.experiments.store import Run, Store


def runs(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="A store of records, such as records.sqlite, or its folder.")
    ],
    run: Annotated[str | None, typer.Option("--run", metavar="KEY", help="Only this run.", show_default=False)] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write the records: .parquet or .csv.", show_default=False),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="GLOB", help="Export only these metrics, such as 'pd_*'; repeatable."),
    ] = None,
    totals: Annotated[bool, typer.Option("--totals", help="Export no rows of single layers.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Hold two runs against each other.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs in a store of records, compare two of them, or export the records as Parquet or CSV.

    Example: shrinkscope runs shrinkscope-demo/records.sqlite --export records.parquet
    """
    from shrinkscope.experiments.store import Store

    with Store(store, create=False) as opened:
        if compare is not None:
            _compare(opened, *compare, json)
            return
        if export is not None:
            opened.export(export, run, metrics=metric or (), totals=totals)
        rows = [_row(entry, len(opened.finished(entry.run))) for entry in opened.runs(run)]
    if json:
        from shrinkscope.files import json_text

        typer.echo(json_text(rows))
        return
    for row in rows:
        typer.echo(
            f"{row['run']}  {row['study']}: {row['cells']} cells finished, begun {row['started']} on {row['hardware']}"
        )
    if not rows:
        typer.echo("the store holds no run")
    if export is not None:
        typer.echo(f"records written to {export}")


def _compare(store: "Store", first: str, second: str, json: bool) -> None:
    from shrinkscope.experiments.compared_runs import compare_runs
    from shrinkscope.files import json_text

    found = compare_runs(store, first, second)
    if json:
        typer.echo(json_text(found))
        return
    for name, (one, other) in found.settings.items():
        typer.echo(f"{name}: {one} → {other}")
    if not found.settings:
        typer.echo("the settings are the same")
    for row in found.rows:
        typer.echo(
            f"epoch {found.epoch}  {row['scope']} {row['method']} {100 * row['level']:g} %  {row['metric']}: "
            f"{_measured(row['first'])} → {_measured(row['second'])}{_difference(row)}"
        )
    if not found.rows:
        typer.echo("the runs have no cell in common")


def _measured(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _difference(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
    return f" ({row['difference']:+.3g}{error})"


def _row(run: "Run", cells: int) -> dict[str, object]:
    import json

    from msgspec.structs import asdict

    config = json.loads(run.config)
    more = {"study": config.get("name", "unnamed"), "cells": cells, "versions": json.loads(run.versions)}
    return asdict(run) | {"config": config} | more
