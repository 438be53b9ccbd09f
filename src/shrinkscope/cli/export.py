"""``shrinkscope export PLAN --to TOOL``: a plan in the words of another tool."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="What shrinkscope plan wrote: .toml or .json.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TOOL",
            help="torch (torch.nn.utils.prune), torch-pruning (pruning_ratio_dict), llm-compressor (a recipe) or "
            "torchao (filter_fn).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write: .yaml for llm-compressor, .py for the others. Standard output by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a plan for another tool.

    Example: shrinkscope export plan.toml --to llm-compressor --out recipe.yaml
    And: shrinkscope export plan.toml --to torch --out pruning.py
    """
    from shrinkscope.analysis.plan import Plan
    from shrinkscope.integrations.export import export as export_plan

    text = export_plan(Plan.load(plan), to, out)
    typer.echo(text if out is None else f"{out}: the plan for {to}.", nl=out is not None)
