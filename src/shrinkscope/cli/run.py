"""``shrinkscope run STUDY …``: whole studies, resumably, from TOML files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shrinkscope.cli.options import Json, device_of
from shrinkscope.cli.ray_option import Ray

if TYPE_CHECKING:
    from shrinkscope.experiments.plan import Plan
    from shrinkscope.experiments.settings import Extraction
    from shrinkscope.experiments.sweep import Failure, OnProgress, Progress

_FAILED = 1
_SILENCE = 60.0  # seconds between two lines where there is no terminal


def run(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STUDY", help="TOML files, or names of studies that come with the package.", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="Folder of the images, in the layout that the study names."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Weights to start from, or the folder of the named file."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the records and networks of all studies.")
    ] = Path("shrinkscope-runs"),
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes side by side. By default 2, or 1 on one core or a GPU."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="GLOB", help="Only these cells, such as 'trial-1/last-lowest-*'."),
    ] = None,
    feature_batch: Annotated[
        int | None,
        typer.Option("--feature-batch", min=1, help="Images a forward pass for cached features. By default 8 to 32."),
    ] = None,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last/--no-channels-last", help="Layout of images when features are computed."),
    ] = True,
    ray: Ray = None,
    list_shipped: Annotated[
        bool, typer.Option("--list", help="Name the studies that come with the package, and end.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is done, what is left and what it costs; compute nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Pre-train or load, prune, fine-tune and measure: the grids of one study or several.

    What the folder holds is not computed again: the same command resumes what was interrupted or killed. A study that
    fails stops no other; then the exit code is 1. Under torchrun every network is trained by all processes together,
    and a failure ends them all.

    Example: shrinkscope run digits --out runs --workers 2
    """
    if list_shipped:
        _show_shipped(json)
        return
    from shrinkscope.experiments import distributed
    from shrinkscope.experiments.settings import Extraction

    extraction = Extraction(batch_size=feature_batch, channels_last=channels_last)
    chosen = device_of(device)
    with distributed.processes(chosen):
        count = _workers(workers, chosen)
        plans, broken = _plans(studies, data, weights, out, chosen, count, only, dry_run, extraction)
        distributed.wait()
        if dry_run:
            if distributed.rank() == 0:
                _show_plans(plans, broken, json)
            failures = []
        else:
            failures = _resumable(lambda: _carry_out(plans, count, ray))
            if distributed.rank() == 0:
                _show_outcome(plans, failures, broken, out, json)
    if failures or broken:
        raise typer.Exit(_FAILED)


def _resumable(work: "Callable[[], list[Failure]]") -> "list[Failure]":
    try:
        return work()
    except KeyboardInterrupt:
        typer.echo("the same command goes on from here", err=True)
        raise


def _show_shipped(json: bool) -> None:
    from shrinkscope.experiments.catalogue import shipped_studies
    from shrinkscope.files import json_text

    shipped = shipped_studies()
    if json:
        typer.echo(json_text([{"name": name, "description": said} for name, said in shipped.items()]))
        return
    width = max(map(len, shipped))
    for name, said in shipped.items():
        typer.echo(f"{name:{width}}  {said}")


def _workers(asked: int | None, device: str) -> int:
    from shrinkscope.experiments.runner import default_workers

    return asked or (1 if device == "cuda" else default_workers())


def _plans(
    names: Sequence[str] | None,
    data: str | None,
    weights: str | None,
    out: Path,
    device: str,
    workers: int,
    only: str | None,
    dry: bool,
    extraction: "Extraction",
) -> "tuple[list[Plan], dict[str, str]]":
    """What each study has left; and the studies that cannot begin, with the reason. A single one's is raised."""
    from shrinkscope.errors import ShrinkscopeError
    from shrinkscope.experiments.data import Images
    from shrinkscope.experiments.plan import plan_study
    from shrinkscope.experiments.runner import threads_of_each
    from shrinkscope.experiments.settings import ConfigError
    from shrinkscope.experiments.shipped import find_study, placed

    if not names:
        raise ConfigError("no study; give a .toml file or a name such as digits; shrinkscope run --list names all")
    plans: dict[str, Plan] = {}
    broken: dict[str, str] = {}
    for name in names:
        try:
            study = placed(find_study(name), data, weights)
            threads = threads_of_each(workers) if isinstance(study.data, Images) else 1
            plan = plan_study(study, out, device=device, threads=threads, only=only, dry=dry, extraction=extraction)
            plans[plan.run.run] = plan
        except ShrinkscopeError as error:
            if len(names) == 1:
                raise
            broken[name] = str(error)
    return list(plans.values()), broken


def _carry_out(plans: "Sequence[Plan]", workers: int, ray: str | None) -> "list[Failure]":
    from shrinkscope.experiments.sweep import carry_out

    crew = None
    if ray is not None:
        from shrinkscope.experiments.on_ray import ray_crew

        crew = ray_crew(ray)
    with grid_progress() as tell:
        return carry_out(plans, workers=workers, progress=tell, crew=crew)


def _show_plans(plans: "Sequence[Plan]", broken: dict[str, str], json: bool) -> None:
    from shrinkscope.experiments.cost import cost_of, cost_rows
    from shrinkscope.files import json_text

    found = [cost_of(plan) for plan in plans]
    if json:
        typer.echo(json_text({"studies": found, "broken": broken}))
        return
    for line in cost_rows(found):
        typer.echo(line)
    for name, error in broken.items():
        typer.echo(f"cannot begin: {name}: {error}", err=True)


def _show_outcome(
    plans: "Sequence[Plan]", failures: "Sequence[Failure]", broken: dict[str, str], out: Path, json: bool
) -> None:
    from shrinkscope.files import json_text

    store = out / "records.sqlite"
    if json:
        rows = [
            {"study": plan.study.name, "run": plan.run.run, "cells": len(plan.cells), "computed": len(plan.left)}
            for plan in plans
        ]
        typer.echo(json_text({"store": store, "studies": rows, "failures": failures, "broken": broken}))
        return
    for plan in plans:
        failed = sum(failure.run == plan.run.run for failure in failures)
        done = len(plan.cells) - failed
        typer.echo(
            f"{plan.study.name}  run {plan.run.run}  {done} of {len(plan.cells)} cells"
            f"{f', {len(plan.cells) - len(plan.left)} were there' if len(plan.left) < len(plan.cells) else ''}"
            f"{f', {failed} failed' if failed else ''}"
        )
    for line in _failed(failures):
        typer.echo(line, err=True)
    for name, error in broken.items():
        typer.echo(f"cannot begin: {name}: {error}", err=True)
    typer.echo(f"records in {store} (list: shrinkscope runs {store})")


def _failed(failures: "Sequence[Failure]") -> "Iterator[str]":
    """Failures, those of one study for one reason in one line."""
    alike: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        alike.setdefault((failure.study, failure.error), []).append(failure)
    for (study, error), found in alike.items():
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        yield f"failed: {study}, {found[0].cell}{more}: {error}"


@contextmanager
def grid_progress() -> "Iterator[OnProgress]":
    """One bar for the whole grid with the time that is left; lines now and then where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("beginning", total=None, left="")
        told = 0.0

        def tell(progress: "Progress") -> None:
            nonlocal told
            where, left = _where(progress), _left(progress)
            bar.update(task, completed=progress.done, total=progress.total, description=where, left=left)
            finished = progress.done == progress.total and progress.stage is None
            if not console.is_terminal and (progress.elapsed - told > _SILENCE or finished):
                told = progress.elapsed
                doing = "" if progress.stage is None else f" ({where})"
                console.print(f"{progress.done} of {progress.total} cells done{doing}; {left}", highlight=False)

        yield tell


def _where(progress: "Progress") -> str:
    where = ": ".join(str(part) for part in (progress.study, progress.cell) if part)
    if progress.stage is not None:
        return f"{where}: {progress.stage.what}, {progress.stage.done:,} of {progress.stage.total:,}"
    return where or "beginning"


def _left(progress: "Progress") -> str:
    """The time that is left for the grid, or for what goes on within it while no cell is finished."""
    stage = progress.stage
    if stage is not None and (progress.remaining is None or progress.cell is None):
        said = f"about {_duration(stage.remaining)} left for these"
    else:
        said = "" if progress.remaining is None else f"about {_duration(progress.remaining)} left"
    failed = f"{progress.failed} failed" if progress.failed else ""
    return ", ".join(filter(None, (said, failed)))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
