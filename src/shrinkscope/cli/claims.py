"""``shrinkscope claims STORE``: the paper's claims as numbers."""

from pathlib import Path
from typing import Annotated

import typer

from shrinkscope.cli.options import Json


def claims(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="A store of records, such as records.sqlite, or its folder.")
    ],
    run: Annotated[str | None, typer.Option("--run", metavar="KEY", help="Only this run.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Put the paper's claims in numbers: does AP order networks as PD does, and does AP3 add anything to AP2?

    Kendall's τ by method, level and epoch; agreement by the contrast of the APs; AP3 against AP2 on the same networks;
    the effects of grouping, Σ and sampling; the failures that the text concedes, found or not.

    Example: shrinkscope claims shrinkscope-demo/records.sqlite
    """
    from shrinkscope.experiments.claims import claims as measure
    from shrinkscope.experiments.store import Store
    from shrinkscope.files import json_text

    with Store(store, create=False) as opened:
        keys = [run] if run else [entry.run for entry in opened.runs()]
        found = {key: measure(opened.records(key)) for key in keys}
        names = {entry.run: entry.config for entry in opened.runs()}
    if json:
        typer.echo(json_text(found))
        return
    _print(found, names)


def _print(found: dict, configs: dict[str, str]) -> None:
    from shrinkscope.report.claims import print_claims
    from shrinkscope.report.figures.paper import named
    from shrinkscope.report.figures.paper_runs import source_of

    for key, measured in found.items():
        typer.echo(f"{key}: {named(source_of(key, configs[key]))}\n")
        print_claims(measured)
    if not found:
        typer.echo("the store holds no run")
