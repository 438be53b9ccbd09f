"""``shrinkscope plan WEIGHTS``: how much to prune in each layer; ``shrinkscope prune WEIGHTS PLAN`` does it."""

from pathlib import Path
from typing import Annotated

import typer

from shrinkscope.cli.options import (
    INPUT_SOURCES,
    NETWORK_NAMES,
    Json,
    Kind,
    Layers,
    OneNetwork,
    Scale,
    progress_bar,
    selection_of,
    token_ids,
)


def plan(
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
            help=f"Unlabelled inputs to compare predictions on: {INPUT_SOURCES}.",
            show_default=False,
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="N,N,…",
            help="Instead of --inputs: shape of one input, to make inputs that fit the network's batch norms.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", help="Inputs to look at, the first so many; half are searched on.", min=4)
    ] = 512,
    sparsity: Annotated[
        float | None,
        typer.Option(help="Fraction of the weights to remove, such as 0.7.", show_default=False),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            help="Instead of --sparsity: largest share of inputs whose predicted class may change, such as 0.01.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            help="Instead: bytes of the whole network, such as 400kB, 4MiB, or 0.3x of what it takes now; pruned "
            "tensors as a bit mask and what stays.",
            show_default=False,
        ),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(
            "--flops",
            help="Instead: floating-point operations of a pass over one input, or below 1 the share of them to keep; "
            "those with removed weights are not counted.",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[
        float | None,
        typer.Option(help="Instead, with --method bits: mean number of bits of a weight.", show_default=False),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="What is chosen for each layer: unstructured, how many weights go; bits, how many bits they get; "
            "n:m or a pattern such as 2:4; low_rank; several with commas between them: magnitude,bits; "
            "structured, how many channels go of each group that has to lose the same ones.",
        ),
    ] = "unstructured",
    allocation: Annotated[
        str,
        typer.Option(
            help="joint (searches on the predictions), additive, sensitivity, uniform, global, erk, lamp, owl or "
            "alpha_pruning; joint, additive and uniform with other methods than unstructured, with structured also "
            "global."
        ),
    ] = "joint",
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate", help="Plan for weights that make up for those that go, as prune --compensate does."
        ),
    ] = False,
    reestimate: Annotated[
        bool,
        typer.Option(
            "--reestimate",
            help="Plan for statistics of batch norm that are estimated anew afterwards, as prune --reestimate does.",
        ),
    ] = False,
    layers: Layers = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="GLOB", help="Leave these layers alone; repeatable.", show_default=False),
    ] = None,
    kind: Kind = None,
    scale: Scale = None,
    seed: Annotated[int, typer.Option(help="Of random moves and synthetic inputs.", min=0)] = 0,
    budget: Annotated[
        float | None,
        typer.Option(help="Most passes of the network over one input that the search takes.", show_default=False),
    ] = None,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Also write the plan: .toml or .json.", show_default=False),
    ] = None,
) -> None:
    """Choose how much to prune in each layer, from unlabelled inputs or from the weights alone.

    Example: shrinkscope plan dense.npz --network lenet300 --inputs mnist/ --sparsity 0.7 --out plan.toml

    Example: shrinkscope plan dense.npz --network resnet20 --inputs x.npz --flops 0.5

    Example: shrinkscope plan dense.npz --network resnet20 --inputs x.npz --method magnitude,bits --size 0.15x
    """
    from shrinkscope.analysis.plan import plan as plan_layers
    from shrinkscope.analysis.plan.plan import BUDGET
    from shrinkscope.experiments.zoo import load_inputs, load_network
    from shrinkscope.weights import runnable

    model = runnable(weights, load_network(network))
    with progress_bar() as bar:
        task = bar.add_task("planning", total=1.0)
        found = plan_layers(
            model,
            sparsity=sparsity,
            max_drop=max_drop,
            size=size,
            flops=flops,
            bits=bits,
            inputs=None if inputs is None else token_ids(load_inputs(inputs, count)),
            shape=_shape(shape),
            layers=selection_of(layers, None, None),
            keep=keep or (),
            compensate=compensate,
            reestimate=reestimate,
            method=method,
            allocation=allocation,  # type: ignore[arg-type]  # checked by plan itself
            kind=kind,  # type: ignore[arg-type]  # likewise
            scale=scale,
            seed=seed,
            budget=BUDGET if budget is None else budget,
            progress=lambda share: bar.update(task, completed=share),
        )
    if out is not None:
        found.save(out)
    if json:
        typer.echo(found.to_json())
        return
    from shrinkscope.report.planned import print_plan

    print_plan(found)


def prune(
    weights: OneNetwork,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="What shrinkscope plan wrote: .toml or .json.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The pruned weights: .safetensors.")],
    compensate: Annotated[
        bool,
        typer.Option(
            "--compensate",
            help="Remove the weights that the others can make up for, and let them; needs --network and --inputs.",
        ),
    ] = False,
    reestimate: Annotated[
        bool,
        typer.Option(
            "--reestimate",
            help="Afterwards estimate the statistics of batch norm anew; needs --network and --inputs.",
        ),
    ] = False,
    network: Annotated[
        str | None, typer.Option("--network", help="Architecture, as for shrinkscope plan.", show_default=False)
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="SOURCE", help="Unlabelled inputs, as for plan.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Inputs to look at, the first so many.", min=2)] = 512,
    narrow: Annotated[
        bool,
        typer.Option(
            "--narrow",
            help="With a plan of channels: write smaller tensors, without the channels, in place of zeros.",
        ),
    ] = False,
    damping: Annotated[
        float | None,
        typer.Option(
            help="Of the input moments, as a multiple of their mean; the plan's, or 0.01, by default.",
            min=0.0,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Carry out a plan, and write all tensors as safetensors, in their own types and, without --narrow, shapes.

    Example: shrinkscope prune dense.npz plan.toml --out pruned.safetensors
    And: shrinkscope prune dense.npz plan.toml --compensate --network resnet20 --inputs x.npz --out pruned.safetensors
    """
    from shrinkscope.analysis.plan import Plan
    from shrinkscope.errors import CompressionError, OutputError
    from shrinkscope.weights import open_weights, save_tensors

    if out.suffix.lower() != ".safetensors":
        raise OutputError(f"cannot write {out}: unknown suffix; expected .safetensors")
    made = Plan.load(plan)
    if made.settings.method == "bits" and compensate:
        raise CompressionError("the plan is one of bits, which removes nothing to make up for; leave out --compensate")
    if made.settings.reestimate and not reestimate:
        typer.echo(
            "the plan is for batch norm statistics that are estimated anew: add --reestimate --network … --inputs …, "
            "or re-estimate them afterwards",
            err=True,
        )
    if not (compensate or reestimate):
        tensors = made.compressed({name: view.read() for name, view in open_weights(weights).items()})
    else:
        from shrinkscope.cli.pruning import pruned_with_inputs

        tensors = pruned_with_inputs(
            made,
            weights,
            network,
            inputs,
            count,
            compensate=compensate,
            reestimate=reestimate,
            damping=damping,
        )
    tensors = made.narrowed_tensors(tensors) if narrow else tensors
    save_tensors(out, tensors)
    gone = f"{made.removed:,} of {made.weights:,} planned weights are gone, with {len(made.vectors)} vectors' entries."
    typer.echo(f"{out}: {gone if narrow else made.done}")


def _shape(text: str | None) -> list[int] | None:
    from shrinkscope.errors import DataError

    if text is None:
        return None
    try:
        return [int(side) for side in text.split(",")]
    except ValueError:
        raise DataError(f"--shape {text}: expected whole numbers such as 3,32,32") from None
