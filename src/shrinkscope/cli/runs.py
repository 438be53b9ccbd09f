"""``shrinkscope runs STORE``: what a store of records holds, and its export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shrinkscope.cli.options import Json

if TYPE_CHECKING:
    from shrinkscope.experiments.store import Run


def runs(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store of records, such as records.sqlite.")],
    run: Annotated[str | None, typer.Option("--run", metavar="KEY", help="Only this run.", show_default=False)] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write the records: .parquet or .csv.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs in a store of records, or export the records as Parquet or CSV.

    Example: shrinkscope runs shrinkscope-demo/records.sqlite --export records.parquet
    """
    from shrinkscope.experiments.store import Store

    with Store(store, create=False) as opened:
        if export is not None:
            opened.export(export, run)
        listed = [entry for entry in opened.runs() if run in (None, entry.run)]
        rows = [_row(entry, len(opened.finished(entry.run))) for entry in listed]
    if json:
        from shrinkscope.files import json_text

        typer.echo(json_text(rows))
        return
    for row in rows:
        typer.echo(f"{row['run']}  {row['cells']} cells finished, begun {row['started']} on {row['hardware']}")
    if not rows:
        typer.echo("the store holds no run" if run is None else f"the store holds no run {run}")
    if export is not None:
        typer.echo(f"records written to {export}")


def _row(run: "Run", cells: int) -> dict[str, object]:
    import json

    from msgspec.structs import asdict

    return asdict(run) | {"cells": cells, "config": json.loads(run.config), "versions": json.loads(run.versions)}
