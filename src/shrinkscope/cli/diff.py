"""``shrinkscope diff A B``: compare two checkpoints by their weights, and by what unlabelled inputs tell of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shrinkscope.cli.mapping_options import Heads, KeptFile, Renames, RulesFile, rules_of
from shrinkscope.cli.options import (
    INPUT_SOURCES,
    After,
    Before,
    Exclude,
    FailIf,
    GroupBy,
    InformedLatents,
    Json,
    Kind,
    Layers,
    Network,
    Out,
    Padding,
    Roles,
    Scale,
    SortBy,
    Top,
    device_of,
    progress_bar,
    selection_of,
    token_ids,
)
from shrinkscope.cli.ray_option import Ray

if TYPE_CHECKING:
    from rich.progress import TaskID

    from shrinkscope.analysis import Comparison
    from shrinkscope.analysis.rule import Rule
    from shrinkscope.latent import Latent
    from shrinkscope.weights import LayerSelection, Weights
    from shrinkscope.weights.mapping import Rules

EXIT_GATE = 1


def diff(
    dense: Before,
    compressed: After,
    layers: Layers = None,
    exclude: Exclude = None,
    role: Roles = None,
    latent: InformedLatents = None,
    network: Network = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="SOURCE",
            help=f"Unlabelled inputs that latents such as fisher are gathered from: {INPUT_SOURCES}.",
            show_default=False,
        ),
    ] = None,
    kind: Kind = None,
    scale: Scale = None,
    padding: Padding = None,
    rename: Renames = None,
    rules: RulesFile = None,
    kept: KeptFile = None,
    heads: Heads = None,
    sort: SortBy = "relative_ap2",
    top: Top = 20,
    group_by: GroupBy = None,
    fail_if: FailIf = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Float64 sums throughout: within 1e-12 instead of 1e-7, at half the speed.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads; by default all cores, up to 8.", show_default=False)
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="Where the sums are taken: cpu, by the compiled kernel; cuda, by PyTorch on a GPU; auto, on a GPU if "
            "there is one.",
        ),
    ] = "cpu",
    rank: Annotated[
        bool,
        typer.Option("--rank", help="Also the effective rank of each Δ, which takes longer than everything else."),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="PATH",
            help="SQLite file or folder that keeps finished tensors, which then are not compared again.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Keep finished tensors in the user's cache folder: after Ctrl-C the same command goes on."
        ),
    ] = False,
    ray: Ray = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """Compare two checkpoints layer by layer: sparsity, AP2, AP3, the most damaged first.

    Needs no network code and runs nothing that is stored in the files. Latents that know the network need it, with
    unlabelled inputs: --latent fisher --network resnet20 --inputs images.npy

    Example: shrinkscope diff dense.safetensors pruned.safetensors --role linear --out diff.html

    Example: shrinkscope diff s3://models/dense/ s3://models/int4/ --resume

    Example: shrinkscope diff /shared/dense /shared/pruned --ray head:6379 --resume

    Example: shrinkscope diff dense.safetensors int4.safetensors --group-by block --fail-if 'relative_ap2 > 2%'
    """
    selection = selection_of(layers, exclude, role)
    options = {"kind": kind, "scale": scale, "padding": padding}
    latents = _gathered(latent, dense, network, inputs, selection, options)
    if group_by is not None:
        from shrinkscope.analysis.grouping import require_grouping

        require_grouping(group_by)
    _require_output(sort, latents, out, grouped=group_by is not None, rank=rank)
    gates = _rules(fail_if or [], latents)
    mapping = rules_of(rename, rules, kept, heads)
    reading = {"ray": ray, "exact": exact, "threads": threads, "device": _gpu(device), "rank": rank}
    comparison = _compare(dense, compressed, selection, latents, mapping, cache=_cache(cache, resume), **reading)
    comparison = comparison.gated(gates)
    if out is not None:
        from shrinkscope.report import save_comparison

        save_comparison(comparison, out, group_by=group_by, sort=sort)
    if json:
        ordered = comparison.sorted_by(sort)
        typer.echo((ordered.grouped_by(group_by).sorted_by(sort) if group_by else ordered).to_json())
    else:
        from shrinkscope.report import print_comparison

        print_comparison(comparison, sort=sort, top=top or None, group_by=group_by)
    if comparison.gates:
        from shrinkscope.report import print_gates

        print_gates(comparison)
    if not all(gate.passed for gate in comparison.gates):
        raise typer.Exit(EXIT_GATE)


def _require_output(
    sort: str, latents: "list[Latent | str] | None", out: Path | None, *, grouped: bool, rank: bool
) -> None:
    """Check what the result is to be sorted by and written to, likewise."""
    from shrinkscope.analysis.order import require_column
    from shrinkscope.latent import DEFAULT, resolve_latents
    from shrinkscope.report.save import require_suffix

    columns = (latent.column for latent in resolve_latents(latents or DEFAULT))
    require_column(sort, columns, grouped=grouped, rank=rank)
    if out is not None:
        require_suffix(out)


def _rules(texts: list[str], latents: "list[Latent | str] | None") -> "list[Rule]":
    """The rules of the gates, read before hours go into a comparison that they do not fit."""
    if not texts:
        return []
    from shrinkscope.analysis.gates import gate_columns
    from shrinkscope.analysis.rule import parse_rule
    from shrinkscope.latent import DEFAULT, resolve_latents

    columns = gate_columns(latent.column for latent in resolve_latents(latents or DEFAULT))
    return [parse_rule(text, columns) for text in texts]


def _gathered(
    latents: list[str] | None,
    dense: str,
    network: str | None,
    inputs: str | None,
    selection: "LayerSelection",
    options: dict[str, Any],
) -> "list[Latent | str] | None":
    """The latents, those from inputs gathered."""
    if network is None and inputs is None and latents is None:
        return None  # the common case, which need not import what gathers
    from shrinkscope.analysis.informed import informed_latents
    from shrinkscope.errors import LatentError
    from shrinkscope.latent.informed_names import informed_names

    names = informed_names(latents or [])
    missing = [option for option, value in (("--network", network), ("--inputs", inputs)) if value is None]
    if names and missing:
        raise LatentError(f"--latent {names[0]} is gathered from inputs; give {' and '.join(missing)}")
    if not names and len(missing) < 2:
        raise LatentError("no latent is gathered from inputs; add --latent input, fisher or kfac, or leave them out")
    if network is None or inputs is None:
        return None if latents is None else [*latents]
    from shrinkscope.experiments.zoo import load_inputs, load_network
    from shrinkscope.weights import runnable

    given = token_ids(load_inputs(inputs))
    model = runnable(dense, load_network(network))
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=len(given))
            bar.update(tasks[stage], completed=done)

        return informed_latents(latents or [], model, given, layers=selection, progress=tell, **options)


def _gpu(asked: str) -> str | None:
    chosen = device_of(asked)
    return None if chosen == "cpu" else chosen


def _cache(chosen: Path | None, resume: bool) -> Path | None:
    if chosen is not None or not resume:
        return chosen
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "shrinkscope")


def _compare(
    dense: str,
    compressed: str,
    selection: "LayerSelection",
    latents: "list[Latent | str] | None",
    mapping: "Rules",
    **settings: Any,
) -> "Comparison":
    from shrinkscope.analysis import compare
    from shrinkscope.kernel import why_not
    from shrinkscope.latent import DEFAULT
    from shrinkscope.weights import open_weights

    before, after = open_weights(dense), open_weights(compressed)
    if why_not():
        typer.echo(why_not(), err=True)
    if settings["cache"] is not None:
        _say_what_is_not_kept(before, after)
    with progress_bar() as bar:
        task = bar.add_task("comparing", total=sum(view.parameters for view in before.values()))
        return compare(
            before,
            after,
            latents=latents or DEFAULT,
            layers=selection,
            rules=mapping,
            progress=lambda name, count: bar.update(task, advance=count, description=f"comparing {name}"),
            **settings,
        )


def _say_what_is_not_kept(*networks: "Weights") -> None:
    from shrinkscope.weights import RemotePath

    for weights in networks:
        if isinstance(weights.place, RemotePath) and weights.place.identity() is None:
            typer.echo(f"{weights.origin}: its storage tells no version of it, so that no tensor is kept", err=True)
