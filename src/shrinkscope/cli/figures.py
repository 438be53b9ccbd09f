"""``shrinkscope figures STORE``: the paper's figures 2 to 18 from stored runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shrinkscope.cli.options import Json
from shrinkscope.errors import SelectionError

if TYPE_CHECKING:
    from shrinkscope.experiments.store import Store
    from shrinkscope.report.figures.paper import Block
    from shrinkscope.report.figures.picture import Picture


def figures(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="A store of records, such as records.sqlite, or its folder.")
    ],
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", metavar="N", help="Number of a figure, 2 to 18, or all; repeatable. All by default."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")] = Path("figures"),
    formats: Annotated[list[str] | None, typer.Option("--format", help="png, svg or pdf; repeatable.")] = None,
    run: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="KEY", help="Only these runs; repeatable.", show_default=False),
    ] = None,
    substitute: Annotated[
        list[str] | None,
        typer.Option(
            "--substitute",
            metavar="NETWORK=NETWORK",
            help="Draw a network of the paper from another one, such as resnet50=resnet20; repeatable.",
            show_default=False,
        ),
    ] = None,
    performance: Annotated[
        Literal["accuracy", "loss"], typer.Option("--performance", help="What PD is a difference in.")
    ] = "accuracy",
    scope: Annotated[str, typer.Option("--scope", help="Which pruned part: last or all.")] = "last",
    json: Json = False,
) -> None:
    """Draw the paper's figures from stored runs: AP solid, PD dashed, means and spread over trials.

    A figure whose run is not there is drawn from a similar network on the same images, which its title says, or
    answered with the command that makes the run.

    Example: shrinkscope figures shrinkscope-runs/records.sqlite --figure 2 --substitute resnet50=resnet20
    """
    from shrinkscope.experiments.store import Store
    from shrinkscope.files import json_text

    stand_ins, suffixes, wanted = _pairs(substitute or []), _formats(formats), _numbers(figure)
    told = []
    with Store(store, create=False) as opened:
        for name, block, found in _pictures(opened, wanted, run or [], stand_ins, scope, performance):
            if isinstance(found, str):
                told.append({"figure": name, "missing": found})
                line = f"{name}: {found}"
            else:
                files = [out / f"{name}.{suffix}" for suffix in suffixes]
                for file in files:
                    found.write(file)
                told.append({"figure": name, "files": files, "title": found.title, "caption": found.caption})
                line = f"{name}: {found.title.partition(' · ')[2]}{_rows(block)} → {files[0]}"
            if not json:
                typer.echo(line)
    if json:
        typer.echo(json_text(told))


def _pictures(
    store: "Store", wanted: set[int], runs: Sequence[str], stand_ins: Mapping[str, str], scope: str, performance: str
) -> "Iterator[tuple[str, Block, Picture | str]]":
    """Each block of the figures that are wanted: its name, and its picture or in one line why there is none."""
    from shrinkscope.report.figures.paper import BLOCKS, figure_names, paper_figure, source_for
    from shrinkscope.report.figures.paper_runs import missing_run, source_of

    for key in runs:
        store.runs(key)  # refuses one that is not there, naming those that are
    sources = [source_of(entry.run, entry.config) for entry in store.runs() if not runs or entry.run in runs]
    blocks = [block for block in BLOCKS if block.figure in wanted]
    tables, drawn = {}, {}
    for block, name in zip(blocks, figure_names(blocks), strict=True):
        source = source_for(block, sources, stand_ins)
        if source is None:
            yield name, block, missing_run(block)
            continue
        repeated = drawn.setdefault((block.figure, source.run, block.dashed, block.rows), name)
        if repeated != name:
            yield name, block, f"{missing_run(block)} (its stand-in is {repeated})"
            continue
        if source.run not in tables:
            tables[source.run] = store.records(source.run)
        yield name, block, paper_figure(block, source, tables[source.run], scope=scope, performance=performance)


def _rows(block: "Block") -> str:
    return "" if len(block.rows) > 1 else f" ({', '.join(map(str, block.rows))})"


def _numbers(figure: Sequence[str] | None) -> set[int]:
    from shrinkscope.report.figures.paper import FIGURES

    if not figure or "all" in figure:
        return set(FIGURES)
    unknown = [number for number in figure if number not in map(str, FIGURES)]
    if unknown:
        raise SelectionError(f"no figure {', '.join(unknown)}; expected {FIGURES[0]} to {FIGURES[-1]}, or all")
    return {int(number) for number in figure}


def _formats(formats: Sequence[str] | None) -> list[str]:
    unknown = sorted(set(formats or []) - {"png", "svg", "pdf"})
    if unknown:
        raise SelectionError(f"no format {', '.join(unknown)}; expected png, svg or pdf")
    return list(dict.fromkeys(formats or ["png"]))


def _pairs(substitute: Sequence[str]) -> Mapping[str, str]:
    from shrinkscope.report.figures.paper import BLOCKS

    networks = sorted({block.network for block in BLOCKS})
    for pair in substitute:
        if pair.partition("=")[0] not in networks or not pair.partition("=")[2]:
            raise SelectionError(
                f"--substitute {pair}; expected a network of the paper ({', '.join(networks)}), =, and another network"
            )
    return dict(pair.split("=", 1) for pair in substitute)
