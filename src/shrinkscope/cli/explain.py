"""``shrinkscope explain A B``: weights and performance together."""

from typing import Annotated

import typer

from shrinkscope.cli.options import (
    DATA_SOURCES,
    INPUT_SOURCES,
    NETWORK_NAMES,
    After,
    Before,
    Exclude,
    InformedLatents,
    Json,
    Kind,
    Layers,
    Out,
    Roles,
    Scale,
    SortBy,
    Top,
    progress_bar,
    selection_of,
    token_ids,
)


def explain(
    dense: Before,
    compressed: After,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            help=f"Architecture to run the weights in: {NETWORK_NAMES}.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="[SPLIT=]SOURCE",
            help=f"Labelled data: {DATA_SOURCES}; repeatable.",
            show_default=False,
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="SOURCE",
            help=f"Unlabelled inputs that bound the accuracy drop: {INPUT_SOURCES}. Without them the inputs of --data "
            "serve.",
            show_default=False,
        ),
    ] = None,
    kind: Kind = None,
    scale: Scale = None,
    confidence: Annotated[
        float, typer.Option("--confidence", help="Of the intervals, and of each bound; between 0 and 1.")
    ] = 0.95,
    layers: Layers = None,
    exclude: Exclude = None,
    role: Roles = None,
    latent: InformedLatents = None,
    sort: SortBy = "relative_ap2",
    top: Top = 20,
    json: Json = False,
    out: Out = None,
) -> None:
    """Explain a compressed network: damage by layer, what it can cost at most, and what it cost on your data.

    Example: shrinkscope explain dense.npz pruned.npz --network lenet300 --data mnist/
    """
    from shrinkscope.analysis import explain as explain_pair
    from shrinkscope.analysis.explain import INPUTS
    from shrinkscope.experiments.zoo import load_data, load_inputs, load_network
    from shrinkscope.latent import DEFAULT
    from shrinkscope.report import print_explanation, save_comparison

    unlabelled = None if inputs is None else token_ids(load_inputs(inputs))
    read = {split: load_data(source) for split, source in map(_split, data)} if data else {}
    labelled = {split: (token_ids(x), y) for split, (x, y) in read.items()}
    sizes = {split: len(targets) for split, (_, targets) in labelled.items()}
    sizes |= {} if unlabelled is None else {INPUTS: len(unlabelled)}
    with progress_bar() as bar:
        tasks = {stage: bar.add_task(stage, total=size) for stage, size in sizes.items()}
        explanation = explain_pair(
            dense,
            compressed,
            network=None if network is None else load_network(network),
            inputs=unlabelled,
            data=labelled or None,
            kind=kind,  # type: ignore[arg-type]  # checked by explain itself
            scale=scale,
            latents=latent or DEFAULT,
            confidence=confidence,
            layers=selection_of(layers, exclude, role),
            progress=lambda stage, done: bar.update(tasks[stage], completed=done),
        )
    if out is not None:
        save_comparison(explanation, out)
    if json:
        typer.echo(explanation.to_json())
    else:
        print_explanation(explanation, sort=sort, top=top or None)


def _split(option: str) -> tuple[str, str]:
    name, equals, source = option.partition("=")
    return (name, source) if equals else ("data", option)
