"""``shrinkscope blocks``: plan, prune and measure language models with one block in memory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shrinkscope.cli.options import Json, Layers, device_of, progress_bar, selection_of, token_ids

if TYPE_CHECKING:
    from torch import Tensor

blocks = typer.Typer(
    name="blocks",
    help="Plan, prune and measure language models of which one block at a time is in memory.",
    no_args_is_help=True,
)

Checkpoint = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="A network in the layout of Hugging Face: config.json and safetensors."),
]
_TOKENS = "whole numbers of shape (sequences, positions) in a .npy"
Device = Annotated[str, typer.Option("--device", help="Where blocks are run: auto, cpu or cuda.")]
Batch = Annotated[int, typer.Option("--batch-size", help="Sequences that are run together.", min=1)]
Scratch = Annotated[
    Path | None,
    typer.Option(
        "--scratch",
        metavar="FOLDER",
        help="For hidden states: a temporary folder of the system by default.",
        show_default=False,
    ),
]


@blocks.command("plan")
def plan(
    checkpoint: Checkpoint,
    sparsity: Annotated[float, typer.Option(help="Fraction of the weights of the blocks' linear layers to remove.")],
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="FILE", help=f"Token ids to plan by: {_TOKENS}.", show_default=False),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", help="Sequences to look at, the first so many; half are searched on.", min=4)
    ] = 64,
    allocation: Annotated[
        str, typer.Option(help="joint (searches on the predictions), additive, owl, uniform or alpha_pruning.")
    ] = "joint",
    ranking: Annotated[
        str, typer.Option(help="Which weights go in what is predicted: informed (|w|·‖x‖) or magnitude.")
    ] = "informed",
    rounds: Annotated[int, typer.Option(help="Configurations that the search tries.", min=1)] = 12,
    layers: Layers = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="GLOB", help="Leave these layers alone; repeatable.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of tokens drawn for the second-order costs.", min=0)] = 0,
    batch: Batch = 4,
    device: Device = "auto",
    scratch: Scratch = None,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Also write the plan: .toml or .json.", show_default=False),
    ] = None,
) -> None:
    """Choose how much to prune in each linear layer of the blocks.

    Example: shrinkscope blocks plan llama/ --inputs tokens.npy --sparsity 0.5 --out plan.toml
    """
    from shrinkscope.analysis.blocks import plan_blocks

    with progress_bar() as bar:
        task = bar.add_task("planning", total=rounds)
        found = plan_blocks(
            checkpoint,
            None if inputs is None else _tokens(inputs)[:count],
            sparsity=sparsity,
            allocation=allocation,  # type: ignore[arg-type]  # checked by the function itself
            ranking=ranking,  # type: ignore[arg-type]  # likewise
            layers=selection_of(layers, None, None),
            keep=keep or (),
            rounds=rounds,
            seed=seed,
            batch_size=batch,
            device=device_of(device),
            scratch=scratch,
            progress=lambda done: bar.update(task, completed=done),
        )
    if out is not None:
        found.save(out)
    if json:
        typer.echo(found.to_json())
        return
    from shrinkscope.report.planned import print_plan

    print_plan(found)


@blocks.command("prune")
def prune(
    checkpoint: Checkpoint,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="What shrinkscope blocks plan wrote: .toml or .json.")],
    inputs: Annotated[str, typer.Option("--inputs", metavar="FILE", help=f"Token ids to prune by: {_TOKENS}.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The pruned checkpoint: a new folder.")],
    within: Annotated[
        str,
        typer.Option(
            help="Which weights of a layer go: swept (SparseGPT), compensated (closer to the best, for layers of up to "
            "a few hundred columns), informed (Wanda) or magnitude."
        ),
    ] = "swept",
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="FILE",
            help="Other token ids, to measure the perplexity before and after on.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Sequences to prune by, the first so many.", min=1)] = 128,
    damping: Annotated[float, typer.Option(help="Of the input moments, as a multiple of their mean.", min=0.0)] = 0.01,
    shard_bytes: Annotated[
        int, typer.Option("--shard-bytes", help="Most bytes of a file; a block is at least one file.", min=1)
    ] = 5_000_000_000,
    batch: Batch = 4,
    device: Device = "auto",
    scratch: Scratch = None,
    json: Json = False,
) -> None:
    """Prune a checkpoint to a plan block by block, and write it as a checkpoint; goes on where it was interrupted.

    Example: shrinkscope blocks prune llama/ plan.toml --inputs tokens.npy --held-out others.npy --out pruned/
    """
    from shrinkscope.analysis.blocks import perplexity, prune_blocks
    from shrinkscope.analysis.plan import Plan
    from shrinkscope.files import json_text
    from shrinkscope.report.blockwise import print_pruned

    made, tokens, place = Plan.load(plan), _tokens(inputs)[:count], device_of(device)
    judged = None if held_out is None else _tokens(held_out)
    with progress_bar() as bar:
        task = bar.add_task("pruning", total=None)
        done = prune_blocks(
            checkpoint,
            made,
            tokens,
            out,
            within=within,  # type: ignore[arg-type]  # checked by the function itself
            damping=damping,
            shard_bytes=shard_bytes,
            batch_size=batch,
            device=place,
            progress=lambda number: bar.update(task, completed=number),
        )
        before = after = None
        if judged is not None:
            bar.add_task("perplexity", total=None)
            before, after = (
                perplexity(folder, judged, batch_size=batch, device=place, scratch=scratch)
                for folder in (checkpoint, out)
            )
    if json:
        typer.echo(json_text({"pruned": done, "before": before, "after": after}))
        return
    print_pruned(done, before, after)


@blocks.command("perplexity")
def perplexity(
    checkpoint: Checkpoint,
    inputs: Annotated[str, typer.Option("--inputs", metavar="FILE", help=f"Token ids: {_TOKENS}.")],
    batch: Batch = 4,
    device: Device = "auto",
    scratch: Scratch = None,
    json: Json = False,
) -> None:
    """The perplexity of a checkpoint, with its standard error over sequences.

    Example: shrinkscope blocks perplexity llama/ --inputs tokens.npy
    """
    from shrinkscope.analysis.blocks import perplexity as measured
    from shrinkscope.files import json_text
    from shrinkscope.report.blockwise import perplexity_line

    with progress_bar() as bar:
        task = bar.add_task("blocks", total=None)
        found = measured(
            checkpoint,
            _tokens(inputs),
            batch_size=batch,
            device=device_of(device),
            scratch=scratch,
            progress=lambda done: bar.update(task, completed=done),
        )
    typer.echo(json_text(found) if json else perplexity_line(found))


def _tokens(source: str) -> "Tensor":
    from shrinkscope.experiments.zoo import load_inputs

    return token_ids(load_inputs(source))
