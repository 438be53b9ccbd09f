"""Comparing two networks by their weights alone."""

from collections.abc import Callable, Iterable

import msgspec
from torch import nn

from shrinkscope.analysis.comparison import Comparison
from shrinkscope.analysis.grouping import summed
from shrinkscope.analysis.informed import informed_latents, informed_names
from shrinkscope.analysis.measure import measure, relative
from shrinkscope.analysis.records import LayerRecord, Settings, Total
from shrinkscope.latent import DEFAULT, Latent, resolve_latents
from shrinkscope.performance.data import Inputs
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Kind
from shrinkscope.version import version
from shrinkscope.weights import (
    LayerSelection,
    LayersLike,
    Pairing,
    PairMoments,
    WeightsLike,
    open_weights,
    pair,
    runnable,
)

Progress = Callable[[str, int], None]
"""Called after each layer with its name and number of elements."""


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
    progress: Progress | None = None,
) -> Comparison:
    """Compare a network before and after compression layer by layer: AP2 in squared weight units, AP3s in nats.

    Args:
        dense: The network before: a module, a state dict, or a path to .safetensors, .pt/.pth or .npz.
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
        progress: Called after each layer.

    Returns:
        One row a tensor, the totals, and what could not be compared with its reason.

    Raises:
        WeightsError: If a side cannot be read.
        PairingError: If the two have no name in common, or the selection matches nothing.
        LatentError: If a latent is unknown, or needs inputs that are not given.
        CurvatureError: If what a latent needs cannot be gathered from the inputs.
        DataError: If the inputs do not fit the network.

    Source: paper, Definitions 2.1 and 2.2.
    """
    latents = [*latents]
    if inputs is not None and informed_names(latents):
        reading = {"kind": kind, "scale": scale, "padding": padding, "outputs": outputs}
        latents = informed_latents(latents, runnable(dense, network), inputs, layers=layers, **reading)
    chosen = resolve_latents(latents)
    selection = LayerSelection.of(layers)
    before, after = open_weights(dense), open_weights(compressed)
    pairing = pair(before, after, selection)
    rows: list[LayerRecord] = []
    sums: list[PairMoments] = []
    for tensors in pairing.pairs:
        row, moments = measure(tensors, chosen)
        rows.append(row)
        sums.append(moments)
        if progress is not None:
            progress(row.layer, row.parameters)
    settings = Settings(
        dense=before.origin,
        compressed=after.origin,
        latents=tuple(_described(latent) for latent in chosen),
        layers=msgspec.json.encode(selection).decode(),
        version=version(),
    )
    return Comparison(
        rows=tuple(rows),
        total=total_of(rows, sums),
        unpaired=pairing.mismatches,
        settings=settings,
        complete=_complete(pairing, rows, selection),
    )


def _described(latent: Latent) -> str:
    # A user's own latent need not be a msgspec struct, nor its fields; their repr is what can be said of them.
    return msgspec.json.encode(latent, enc_hook=repr).decode() if isinstance(latent, msgspec.Struct) else repr(latent)


def _complete(pairing: Pairing, rows: Iterable[LayerRecord], selection: LayerSelection) -> bool:
    everything = selection == LayerSelection()
    # Another dtype is compared all the same; anything else in the list was not.
    paired = all(mismatch.kind in ("dtype", "tied") for mismatch in pairing.mismatches)
    return everything and paired and all(row.changed is not None for row in rows)


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
    count = together.count
    return Total(
        layers=len(measured),
        changed_layers=sum(1 for _, moments in measured if moments.changed),
        parameters=count,
        sparsity_dense=together.zeros_dense / count if count else None,
        sparsity=together.zeros_compressed / count if count else None,
        ap2=together.square_delta,
        relative_ap2=relative(together),
        divergences=summed([row.divergences for row, _ in measured]),
    )
