"""``shrinkscope scan WEIGHTS``: which layers can bear compression, before anything is compressed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shrinkscope.cli.options import (
    DATA_SOURCES,
    INPUT_SOURCES,
    NETWORK_NAMES,
    Exclude,
    InformedLatents,
    Json,
    Kind,
    Layers,
    OneNetwork,
    Scale,
    Top,
    progress_bar,
    selection_of,
    token_ids,
)

if TYPE_CHECKING:
    from shrinkscope.analysis import Scan


def scan(
    weights: OneNetwork,
    network: Annotated[
        str,
        typer.Option(
            "--network",
            help=f"Architecture to run the weights in: {NETWORK_NAMES}.",
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="SOURCE",
            help=f"Unlabelled inputs to compare predictions on: {INPUT_SOURCES}. Without them the inputs of --data "
            "serve.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help=f"Labelled data to measure loss and accuracy on, squared error of a regression: {DATA_SOURCES}.",
            show_default=False,
        ),
    ] = None,
    kind: Kind = None,
    scale: Scale = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="lowest, highest, random, structured, quantise or low_rank; repeatable. By default all but highest "
            "and random.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            "--level",
            metavar="[METHOD=]LEVEL",
            help="Fraction to remove, bits, or rank as a fraction; of one method or of all; repeatable.",
            show_default=False,
        ),
    ] = None,
    layers: Layers = None,
    exclude: Exclude = None,
    latent: InformedLatents = None,
    seed: Annotated[int, typer.Option(help="Of random pruning.", min=0)] = 0,
    every_level: Annotated[
        bool, typer.Option("--every-level", help="Also run the harsher levels of layers that have collapsed.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Keep finished candidates there; the same command resumes.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="Sort by this column, largest first: predictive_kl by default, relative_ap2 without inputs.",
            show_default=False,
        ),
    ] = None,
    top: Top = 20,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Also write the result: .json, .csv or .parquet; or a heat map: .png or .svg.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compress each layer alone, by several methods at several levels, and rank the layers by the damage.

    Example: shrinkscope scan dense.npz --network lenet300 --inputs mnist/ --method lowest --cache scans/
    """
    from shrinkscope.analysis import scan as scan_layers
    from shrinkscope.analysis.scan.methods import DEFAULT_METHODS
    from shrinkscope.experiments.zoo import load_data, load_inputs, load_network
    from shrinkscope.latent import DEFAULT
    from shrinkscope.weights import runnable

    model = runnable(weights, load_network(network))
    labelled = None if data is None else load_data(data)
    with progress_bar() as bar:
        task = bar.add_task("scanning", total=None)
        found = scan_layers(
            model,
            inputs=None if inputs is None else token_ids(load_inputs(inputs)),
            data=None if labelled is None else (token_ids(labelled[0]), labelled[1]),
            kind=kind,  # type: ignore[arg-type]  # checked by scan itself
            scale=scale,
            methods=method or DEFAULT_METHODS,
            levels=_levels(level or [], method or DEFAULT_METHODS),
            layers=selection_of(layers, exclude, None),
            latents=latent or DEFAULT,
            seed=seed,
            early_stop=not every_level,
            cache=cache,
            progress=lambda done, total, name: bar.update(task, completed=done, total=total, description=name),
        )
    _hand_over(found, sort, top, json, out)


def _hand_over(found: "Scan", sort: str | None, top: int, json: bool, out: Path | None) -> None:
    from shrinkscope.report import print_scan, save_scan

    if out is not None:
        save_scan(found, out)
    if json:
        typer.echo(found.to_json())
    else:
        print_scan(found, sort=sort, top=top or None)


def _levels(options: list[str], methods: "list[str] | tuple[str, ...]") -> "dict[str, list[float]] | None":
    """Levels by method: those of its own, else those for all."""
    from shrinkscope.errors import CompressionError

    common: list[float] = []
    own: dict[str, list[float]] = {}
    for option in options:
        name, equals, text = option.rpartition("=")
        try:
            (own.setdefault(name, []) if equals else common).append(float(text))
        except ValueError:
            raise CompressionError(f"--level {option}: {text!r} is no number; expected [METHOD=]LEVEL") from None
    return {name: common for name in methods if common} | own or None
