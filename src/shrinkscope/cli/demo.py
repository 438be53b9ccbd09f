"""``shrinkscope demo``: the paper's experiment in miniature, on data that is installed."""

from pathlib import Path
from typing import Annotated

import typer

from shrinkscope.cli.options import Json


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report, figures, records and networks.")
    ] = Path("shrinkscope-demo"),
    json: Json = False,
) -> None:
    """Train a small network on handwritten digits, prune it in 24 ways, and explain what that did.

    Takes about a minute on two cores, needs no download and no GPU. Run again, it resumes what was interrupted.

    Example: shrinkscope demo --out my-demo
    """
    raise NotImplementedError
