"""``shrinkscope theory``: every statement of the paper beside what it bounds."""

from pathlib import Path
from typing import Annotated

import typer

from shrinkscope.cli.options import DATA_SOURCES, NETWORK_NAMES, Json, progress_bar


def theory(
    dense: Annotated[
        str | None, typer.Argument(metavar="A", help="Weights before, for a case of your own.", show_default=False)
    ] = None,
    compressed: Annotated[str | None, typer.Argument(metavar="B", help="Weights after.", show_default=False)] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            help=f"Architecture of A and B: {NETWORK_NAMES}.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help=f"Labelled data for A and B: {DATA_SOURCES}.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Samples on which the curvature of the whole network A is taken.", min=2)
    ] = 512,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Also find the largest sparsity, for A (or the digits network) and each of its layers, at which the "
            "accuracy provably drops by at most this fraction; for example 0.05.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Also write the result: .json, .csv, .parquet or .md.", show_default=False
        ),
    ] = None,
) -> None:
    """Put the paper's statements to the test, as published and corrected: bound, measured difference, tightness.

    Example: shrinkscope theory dense.npz pruned.npz --network lenet300 --data mnist/
    """
    from shrinkscope.errors import DataError
    from shrinkscope.experiments.statements import put_to_the_test
    from shrinkscope.experiments.zoo import load_data, load_network
    from shrinkscope.report import print_statements, save_statements
    from shrinkscope.weights import runnable

    pair = labelled = None
    if dense is not None and compressed is not None and network is not None and data is not None:
        model, labelled = load_network(network), load_data(data)
        pair = runnable(dense, model), runnable(compressed, model)
    elif not (dense is None and compressed is None and network is None and data is None):
        raise DataError("a case of your own needs A, B, --network and --data together; or leave all four out")
    with progress_bar() as progress:
        bar = progress.add_task("theory", total=None)
        table = put_to_the_test(
            pair,
            labelled,
            samples=samples,
            tolerance=tolerance,
            progress=lambda stage, done, total: progress.update(bar, description=stage, completed=done, total=total),
        )
    if out is not None:
        save_statements(table, out)
    if json:
        typer.echo(table.to_json())
    else:
        print_statements(table)
