"""Options that say how two networks' tensors belong together, and the rules made of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shrinkscope.weights.mapping import Rules

Renames = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="PATTERN=REPLACEMENT",
        help="Rename B's tensors to A's names: a regular expression and what its matches become; repeatable, in order.",
        show_default=False,
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help="A TOML file of renamings, fusions and factorisations; docs/mapping.md describes it.",
        show_default=False,
    ),
]
KeptFile = Annotated[
    Path | None,
    typer.Option(
        "--kept",
        metavar="FILE",
        help="A JSON file: layer → indices of the channels that structured pruning kept; otherwise looked for.",
        show_default=False,
    ),
]
Heads = Annotated[
    int | None,
    typer.Option(
        "--heads",
        metavar="NUMBER",
        help="Attention heads, for fused projections whose rows go head by head; otherwise from config.json.",
        min=1,
        show_default=False,
    ),
]


def rules_of(renames: list[str] | None, file: Path | None, kept: Path | None, heads: int | None) -> "Rules":
    """The rules that the options describe: those of the file first, then the others.

    Args:
        renames: Renamings as PATTERN=REPLACEMENT.
        file: A TOML file of rules.
        kept: A JSON file of kept channels.
        heads: Number of attention heads.

    Raises:
        PairingError: If a file cannot be read, or a renaming is none.
    """
    from shrinkscope.weights.mapping import Rename, Rules, read_kept, read_rules

    mine = Rules(
        rename=tuple(Rename.parse(text) for text in renames or ()),
        kept=read_kept(kept) if kept is not None else {},
        heads=heads,
    )
    return (read_rules(file) if file is not None else Rules()).merged(mine)
