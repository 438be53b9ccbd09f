"""``shrinkscope demo``: the paper's experiment in miniature, on data that is installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shrinkscope.cli.options import Json

if TYPE_CHECKING:
    import pandas as pd

    from shrinkscope.experiments.demo import DemoResult
    from shrinkscope.experiments.runner import OnProgress
    from shrinkscope.experiments.runner import Progress as StudyProgress

_DATA = "a small convolutional network on scikit-learn's handwritten digits"


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report, figures, records and networks.")
    ] = Path("shrinkscope-demo"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew instead of resuming what the folder holds.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a small network on handwritten digits, prune it in 24 ways, and explain what that did.

    Takes about a minute on two cores; needs no download and no GPU. The same command resumes what was interrupted.

    Example: shrinkscope demo --out my-demo
    """
    from shrinkscope.experiments.demo import run_demo
    from shrinkscope.experiments.store import Store
    from shrinkscope.report import print_demo

    with _progress() as tell:
        result = run_demo(out, progress=tell, fresh=fresh)
    with Store(result.store, create=False) as store:
        records = store.records(result.run)
        run = next(run for run in store.runs() if run.run == result.run)
    files = _write_report(result, records, _facts(run))
    if json:
        typer.echo(result.to_json())
        return
    print_demo(records, conclusions=result.conclusions, files=files)


def _write_report(result: "DemoResult", records: "pd.DataFrame", run: Mapping[str, Any]) -> dict[str, str]:
    from shrinkscope.experiments.insights import insights
    from shrinkscope.report import demo_figures, demo_report, save_figures, write_report

    figures = demo_figures(records, data=_DATA)
    save_figures(figures, result.out / "figures")
    html = demo_report(
        records,
        run=run,
        conclusions=result.conclusions,
        notes=insights(records),
        figures=figures,
        title="What pruning did to a network that reads digits",
        lede=f"The paper's experiment in miniature: {_DATA}, pruned by magnitude and fine-tuned with the mask held.",
        data=_DATA,
    )
    report = result.out / "report.html"
    write_report(report, html)
    return {
        "report": str(report),
        "figures": f"{result.out / 'figures'} ({2 * len(figures)} files, PNG and SVG)",
        "records": f"{result.store} (export: shrinkscope runs {result.store} --export records.parquet)",
        "networks": str(result.networks),
        "time": f"{result.seconds:.0f} s"
        + (f", {result.resumed} networks were there already" if result.resumed else ""),
    }


def _facts(run: Any) -> dict[str, Any]:
    import json

    from msgspec.structs import asdict

    return asdict(run) | {"config": json.loads(run.config), "versions": json.loads(run.versions)}


@contextmanager
def _progress() -> "Iterator[OnProgress]":
    """A progress bar on a terminal; a line every few cells on anything else, so that a log shows life."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("training and pruning", total=None, left="")

        def tell(progress: "StudyProgress") -> None:
            left = "" if progress.remaining is None else f"about {progress.remaining:.0f} s left"
            where = "training the dense networks" if progress.cell is None else str(progress.cell)
            bar.update(task, completed=progress.done, total=progress.total, description=where, left=left)
            if not console.is_terminal and progress.done % 25 == 0 and progress.stage is None:
                console.print(f"{progress.done} of {progress.total} cells done {left}", highlight=False)

        yield tell
