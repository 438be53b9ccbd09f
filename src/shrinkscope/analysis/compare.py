"""Comparing two networks by their weights alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.analysis.comparison import Comparison
from shrinkscope.analysis.group import merged
from shrinkscope.analysis.layer_cache import keys_of
from shrinkscope.analysis.measure import Reading, relative
from shrinkscope.analysis.measuring import Cache, Progress, measured_layers, one_by_one
from shrinkscope.analysis.records import LayerRecord, Settings, Total
from shrinkscope.kernel import available
from shrinkscope.latent import DEFAULT, Latent, resolve_latents
from shrinkscope.latent.informed_names import informed_names
from shrinkscope.version import version
from shrinkscope.weights import (
    LayerSelection,
    LayersLike,
    Pairing,
    PairMoments,
    RemotePath,
    Weights,
    WeightsLike,
    open_weights,
    pair,
    runnable,
)
from shrinkscope.weights.mapping import Rules

if TYPE_CHECKING:
    from torch import nn

    from shrinkscope.performance.data import Inputs
    from shrinkscope.performance.outputs import Outputs
    from shrinkscope.performance.reading import Kind


def compare(
    dense: WeightsLike,
    compressed: WeightsLike,
    *,
    latents: Iterable[Latent | str] = DEFAULT,
    layers: LayersLike = None,
    inputs: Inputs | None = None,
    network: nn.Module | None = None,
    kind: Kind | None = None,
    scale: float | None = None,
    padding: int | None = None,
    outputs: Outputs | None = None,
    rules: Rules | None = None,
    exact: bool = False,
    threads: int | None = None,
    device: str | None = None,
    rank: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    ray: str | None = None,
) -> Comparison:
    """Compare a network before and after compression layer by layer: AP2 in squared weight units, AP3s in nats.

    Args:
        dense: The network before: a module, a state dict, a path to .safetensors, .pt/.pth, .npz or .gguf, or a URL of
            one that fsspec can reach, such as ``s3://bucket/model.safetensors``, of which only ranges are read.
        compressed: The network after, in any of these forms; tensors are paired by name.
        latents: Latent distributions, by name or as objects; each becomes a column.
        layers: Globs or a LayerSelection; every tensor by default.
        inputs: Unlabelled inputs, from which the Σ⁻¹ of latents such as ``"input"``, ``"fisher"`` and ``"kfac"`` is
            gathered: see ``informed_latents``, which has further settings. None of the other latents looks at them.
        network: A module of the architecture, where inputs are given and ``dense`` is not a module.
        kind: What the network predicts: classes, tokens or regression; None tells from its outputs.
        scale: Standard deviation of a regression's prediction.
        padding: Token id that marks positions that do not count.
        outputs: Finds the scores in what the network returns.
        rules: What is known of the two networks' names, fused tensors, factors and kept channels; what is not given is
            found, and noted under ``unpaired`` as ``mapped``.
        exact: Float64 sums throughout: within 1e-12 instead of 1e-7, at about half the speed for 16-bit types.
        threads: Threads that read and sum; the processor's cores by default, up to 8. They change no
            digit of the result.
        device: Where PyTorch takes the sums, for example ``"cuda"``; on the CPU by default.
        rank: Whether the effective rank of each Δ is computed, which takes far longer than everything else.
        cache: An SQLite file, or a folder that will hold one: each finished layer is kept there at once, and is not
            measured again, so that an interrupted comparison goes on where it was. ``keys_of`` says what tells layers
            apart.
        progress: Called with a layer's name and the number of its elements that were done, chunk by chunk.
        ray: Address of a Ray cluster whose machines all reach the two checkpoints, or ``"local"`` for one on this
            machine. Long tensors are compared in pieces; the result is that of one process, to the last digit.

    Returns:
        One row a tensor, the totals, and what could not be compared with its reason.

    Raises:
        WeightsError: If a side cannot be read.
        PairingError: If the two have no name in common, or the selection matches nothing.
        LatentError: If a latent is unknown, or needs inputs that are not given.
        CurvatureError: If what a latent needs cannot be gathered from the inputs.
        DataError: If the inputs do not fit the network.
        StoreError: If the cache cannot be used, or a latent cannot be cached.
        ClusterError: If the cluster cannot be joined, its workers die again and again, or weights are in memory.

    Source: paper, Definitions 2.1 and 2.2.
    """
    latents = [*latents]
    if inputs is not None and informed_names(latents):
        from shrinkscope.analysis.informed import informed_latents

        reading = {"kind": kind, "scale": scale, "padding": padding, "outputs": outputs}
        latents = informed_latents(latents, runnable(dense, network), inputs, layers=layers, **reading)
    chosen = resolve_latents(latents)
    selection = LayerSelection.of(layers)
    before, after = open_weights(dense), open_weights(compressed)
    pairing = pair(before, after, selection, rules)
    reading = Reading(exact=exact, threads=threads, device=device, rank=rank)
    if ray is None:
        measurer = one_by_one(pairing.pairs, chosen, reading)
    else:
        from shrinkscope.analysis.on_ray import on_ray, order_of

        told = {"selection": selection, "rules": rules, "latents": chosen, "reading": reading}
        measurer = on_ray(ray, pairing, order_of(before, after, pairing, **told))
    kept = None if cache is None else Cache(cache, keys_of(before, after, chosen, reading, rules))
    measured = measured_layers(pairing.pairs, measurer, kept, progress, lambda: _confirm(before, after))
    rows, sums = [layer.row for layer in measured], [layer.moments for layer in measured]
    settings = Settings(
        dense=before.origin,
        compressed=after.origin,
        latents=tuple(_described(latent) for latent in chosen),
        layers=msgspec.json.encode(selection).decode(),
        version=version(),
        exact=exact,
        kernel=device or available() or "torch",
    )
    return Comparison(
        rows=tuple(rows),
        total=total_of(rows, sums),
        unpaired=pairing.mismatches,
        settings=settings,
        complete=_complete(pairing, rows, selection),
    )


def _confirm(*networks: Weights) -> None:
    for weights in networks:
        if isinstance(weights.place, RemotePath):
            weights.place.confirm()


def _described(latent: Latent) -> str:
    # A user's own latent need not be a msgspec struct, nor its fields; their repr is what can be said of them.
    return msgspec.json.encode(latent, enc_hook=repr).decode() if isinstance(latent, msgspec.Struct) else repr(latent)


def _complete(pairing: Pairing, rows: Iterable[LayerRecord], selection: LayerSelection) -> bool:
    everything = selection == LayerSelection()
    # Another dtype or form is compared all the same; anything else in the list was not.
    paired = all(mismatch.kind in ("dtype", "tied", "mapped") for mismatch in pairing.mismatches)
    return everything and paired and all(row.changed is not None for row in rows)


_OF_GROUPS = ("cosine", "snr_db", "pattern", "distinct_dense", "distinct", "effective_bits_dense", "effective_bits")
_OF_GROUPS += ("effective_rank", "divergences")


def total_of(rows: Iterable[LayerRecord], sums: Iterable[PairMoments]) -> Total:
    """The measured layers together.

    Args:
        rows: Their records.
        sums: Their sums, in the same order.

    Returns:
        The total; rows that could not be measured are left out.
    """
    measured = [(row, moments) for row, moments in zip(rows, sums, strict=True) if row.measurable]
    together = PairMoments()
    for _, moments in measured:
        together = together.merge(moments)
    count, group = together.count, merged("total", [row for row, _ in measured])
    return Total(
        layers=len(measured),
        changed_layers=sum(1 for _, moments in measured if moments.changed),
        parameters=count,
        changed=together.changed,
        zeros_dense=together.zeros_dense,
        zeros=together.zeros_compressed,
        sparsity_dense=together.zeros_dense / count if count else None,
        sparsity=together.zeros_compressed / count if count else None,
        zeros_gained=together.zeros_gained,
        zeros_lost=together.zeros_lost,
        ap2=together.square_delta,
        relative_ap2=relative(together),
        max_abs_delta=together.largest_delta,
        **{name: getattr(group, name) for name in _OF_GROUPS},
    )
