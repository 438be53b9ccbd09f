"""``shrinkscope claims STORE``: the paper's claims as numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shrinkscope.cli.options import Json

if TYPE_CHECKING:
    import pandas as pd

    from shrinkscope.experiments.records import Run


def claims(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="A store of records, such as records.sqlite, or its folder.")
    ],
    run: Annotated[str | None, typer.Option("--run", metavar="KEY", help="Only this run.", show_default=False)] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All tables of each run: by level, method, epoch, contrast and ingredient.")
    ] = False,
    json: Json = False,
) -> None:
    """Put the paper's claims in numbers: does AP order networks as PD does, and does AP3 add anything to AP2?

    What the runs of a store say together, and one table of Kendall's τ with PD on held-out data. With --all, and with
    --json, also τ by method, level and epoch; agreement by the contrast of the APs; AP3 against AP2 on the same
    networks; the effects of grouping, Σ and sampling; the failures that the text concedes, found or not.

    Example: shrinkscope claims shrinkscope-demo/records.sqlite
    """
    from shrinkscope.experiments.executor import one_thread
    from shrinkscope.experiments.store import Store

    with Store(store, create=False) as opened:
        found = {entry.run: (entry, opened.records(entry.run, totals=True)) for entry in opened.runs(run)}
    with one_thread():  # thousands of small products, for which a second thread only waits for the first
        if json:
            from shrinkscope.experiments.claims import claims as measure
            from shrinkscope.files import json_text

            typer.echo(json_text({key: measure(records) for key, (_, records) in found.items()}))
        else:
            _print(list(found.values()), everything)


def _print(found: "list[tuple[Run, pd.DataFrame]]", everything: bool) -> None:
    from shrinkscope.experiments.agreement import pruned_only
    from shrinkscope.experiments.claims import claims as measure
    from shrinkscope.report.claims import print_claims, print_conclusions
    from shrinkscope.report.figures.paper import named
    from shrinkscope.report.figures.paper_runs import source_of
    from shrinkscope.report.reproduced import reproduced

    there = [(run, records) for run, records in found if len(pruned_only(records))]
    for run, _ in found:
        if run.run not in {other.run for other, _ in there}:
            typer.echo(f"{run.run}: no pruned network is finished")
    if everything:
        for run, records in there:
            typer.echo(f"{run.run}: {named(source_of(run.run, run.config))}\n")
            print_claims(measure(records))
    elif there:
        print_conclusions([reproduced(run, records, _HELD_OUT) for run, records in there])
    if not found:
        typer.echo("the store holds no run")


_HELD_OUT = ("pd_accuracy_test", "pd_loss_test")
