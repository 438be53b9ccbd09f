"""``shrinkscope diff A B``: compare two checkpoints by their weights alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shrinkscope.cli.options import (
    Exclude,
    Json,
    Latents,
    Layers,
    Out,
    Roles,
    SortBy,
    Top,
    progress_bar,
    selection_of,
)

if TYPE_CHECKING:
    from shrinkscope.analysis import Comparison
    from shrinkscope.weights import LayerSelection


def diff(
    dense: Annotated[Path, typer.Argument(metavar="A", help="Weights before: .safetensors, .pt, .pth or .npz.")],
    compressed: Annotated[Path, typer.Argument(metavar="B", help="Weights after, in any of these formats.")],
    layers: Layers = None,
    exclude: Exclude = None,
    role: Roles = None,
    latent: Latents = None,
    sort: SortBy = "relative_ap2",
    top: Top = 20,
    json: Json = False,
    out: Out = None,
) -> None:
    """Compare two checkpoints layer by layer: sparsity, AP2, AP3, the most damaged first.

    Needs no network code and runs nothing that is stored in the files.

    Example: shrinkscope diff dense.safetensors pruned.safetensors --role linear --out diff.html
    """
    comparison = _compare(dense, compressed, selection_of(layers, exclude, role), latent)
    if out is not None:
        from shrinkscope.report import save_comparison

        save_comparison(comparison, out)
    if json:
        typer.echo(comparison.to_json())
        return
    from shrinkscope.report import print_comparison

    print_comparison(comparison, sort=sort, top=top or None)


def _compare(dense: Path, compressed: Path, selection: "LayerSelection", latents: list[str] | None) -> "Comparison":
    from shrinkscope.analysis import compare
    from shrinkscope.latent import DEFAULT
    from shrinkscope.weights import open_weights

    before, after = open_weights(dense), open_weights(compressed)
    with progress_bar() as bar:
        task = bar.add_task("comparing", total=len(before))
        return compare(
            before,
            after,
            latents=latents or DEFAULT,
            layers=selection,
            progress=lambda name, _: bar.update(task, advance=1, description=f"comparing {name}"),
        )
