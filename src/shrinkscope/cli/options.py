"""Options that several verbs share, and how a verb hands over its result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

    from shrinkscope.weights import LayerSelection

NETWORK_NAMES = (
    "digits, efficientnet_lite0, lenet300, resnet20, resnet32, resnet56, stories260k, or package.module:function "
    "returning a torch.nn.Module"
)
"""What --network takes; the package's own are the keys of ``NETWORKS``, which takes seconds to import."""
INPUT_SOURCES = (
    "a .npz with x, a .npy (whole numbers are token ids), a directory with MNIST's test images, digits, or "
    "package.module:function returning a tensor or a DataLoader"
)
"""What --inputs takes."""
DATA_SOURCES = (
    "a .npz with x and y, a directory with MNIST's test set, digits, or package.module:function returning (x, y) or a "
    "DataLoader"
)
"""What --data takes."""

Before = Annotated[
    str,
    typer.Argument(
        metavar="A", help="Weights before: a path or URL of .safetensors, .pt, .pth, .npz, .gguf or a directory."
    ),
]
After = Annotated[str, typer.Argument(metavar="B", help="Weights after, in any of these formats.")]
OneNetwork = Annotated[
    str, typer.Argument(metavar="WEIGHTS", help="Weights: a path or URL of .safetensors, .pt, .pth, .npz or .gguf.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, and nothing else there.")]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layers", "--include", metavar="GLOB", help="Only tensors whose name matches; repeatable.", show_default=False
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Leave these names out; repeatable.", show_default=False),
]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="Only this role: convolution, linear, embedding, norm, bias, statistic or other; repeatable.",
        show_default=False,
    ),
]
_WEIGHTS_ALONE = (
    "AP3 columns: gaussian, student_t (both by default), gaussian_fixed, gaussian_rotated, "
    "gaussian_rotated_grouped, student_t_grouped (the paper's), uniform; "
)
Latents = Annotated[
    list[str] | None,
    typer.Option("--latent", metavar="NAME", help=f"{_WEIGHTS_ALONE}repeatable.", show_default=False),
]
InformedLatents = Annotated[
    list[str] | None,
    typer.Option(
        "--latent",
        metavar="NAME",
        help=f"{_WEIGHTS_ALONE}gathered from --inputs: input, input_block, input_diagonal, fisher, kfac, "
        "gauss_newton, each also as relative_NAME and student_t_NAME; repeatable.",
        show_default=False,
    ),
]
Top = Annotated[int, typer.Option(help="Rows of the table; 0 shows all.", min=0)]
SortBy = Annotated[str, typer.Option("--sort", metavar="COLUMN", help="Sort by this column, most damaged first.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="GROUP",
        help="Rows are groups of tensors: layer (weight and bias of a module), block (numbered units), role (the same "
        "part of all blocks), expert (the same part of all experts of a block) or mixture (all experts of a block).",
        show_default=False,
    ),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="RULE",
        help="End with exit code 1 when a row meets the rule or has no value, such as 'relative_ap2 > 0.02 in "
        "*.down_proj' or 'snr_db < 15 in block'; repeatable.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="Also write the result: .json, .csv, .parquet or .html.", show_default=False
    ),
]

Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help=f"Architecture to run the weights in: {NETWORK_NAMES}.",
        show_default=False,
    ),
]
Padding = Annotated[
    int | None,
    typer.Option(
        "--padding", metavar="ID", help="Token id that marks positions that do not count.", show_default=False
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="What the network predicts: classes, tokens or regression. By default its outputs tell: three dimensions "
        "are tokens, two are classes, or numbers with --scale.",
        show_default=False,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        metavar="NUMBER",
        help="Of a regression: standard deviation of its predictions, in the unit of the outputs.",
        show_default=False,
    ),
]


def device_of(asked: str) -> str:
    """The device that is meant: ``auto`` is a GPU where there is one.

    Args:
        asked: auto, cpu or cuda.

    Raises:
        SelectionError: If it is none of these, or there is no GPU.
    """
    from shrinkscope.errors import SelectionError

    if asked not in ("auto", "cpu", "cuda"):
        raise SelectionError(f"--device {asked}: expected auto, cpu or cuda")
    if asked == "cpu":
        return asked
    import torch

    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise SelectionError("--device cuda: torch finds no GPU here; give --device cpu")
    return "cuda" if available else "cpu"


def token_ids(inputs: "Tensor") -> "Tensor":
    """Inputs as a network takes them: rows of whole numbers are token ids, whatever type their file gave them.

    Args:
        inputs: As they were read.
    """
    return inputs.long() if inputs.ndim == 2 and not inputs.is_floating_point() else inputs


def selection_of(layers: list[str] | None, exclude: list[str] | None, roles: list[str] | None) -> "LayerSelection":
    """The selection that the options describe.

    Raises:
        SelectionError: If a role is unknown.
    """
    from shrinkscope.weights import LayerSelection

    return LayerSelection(
        include=tuple(layers or ("*",)),
        exclude=tuple(exclude or ()),
        roles=tuple(roles) if roles else None,  # type: ignore[arg-type]  # checked by LayerSelection itself
    )


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """A progress bar on standard error that vanishes when done; drawn only on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
