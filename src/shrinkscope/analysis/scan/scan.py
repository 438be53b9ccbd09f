"""Compressing one layer at a time, by several methods at several levels, to see which layers can bear it."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack

import msgspec
import torch
from torch import nn

from shrinkscope.analysis.informed import informed_latents
from shrinkscope.analysis.scan.cache import ScanCache
from shrinkscope.analysis.scan.candidate import Layer, layers_of
from shrinkscope.analysis.scan.collapse import RULES
from shrinkscope.analysis.scan.identity import described, identity_of
from shrinkscope.analysis.scan.methods import DEFAULT_METHODS, Levels, Sweep, as_sweeps
from shrinkscope.analysis.scan.passes import Passes
from shrinkscope.analysis.scan.records import ScanCost, ScanRow, ScanSettings
from shrinkscope.analysis.scan.result import Scan
from shrinkscope.analysis.scan.substitute import preserved
from shrinkscope.analysis.scan.walk import Walk
from shrinkscope.analysis.scan.yardstick import Samples, Yardstick, samples_of
from shrinkscope.compression import CompressionMethod
from shrinkscope.compression.checks import listing
from shrinkscope.errors import DataError, SelectionError
from shrinkscope.latent import DEFAULT, Latent, resolve_latents
from shrinkscope.latent.informed_names import informed_names
from shrinkscope.performance import Kind, Metric, Reading
from shrinkscope.performance.data import Data, Inputs
from shrinkscope.performance.forward import evaluation_mode
from shrinkscope.performance.metrics import default_metrics
from shrinkscope.performance.outputs import Outputs
from shrinkscope.version import version
from shrinkscope.weights import LayerSelection, LayersLike, compressible

MEMORY = 1 << 30
"""Bytes of activations that are held by default: 1 GiB."""

Progress = Callable[[int, int, str], None]
"""Called after each candidate with the number done, of all, and the layer's name."""


def scan(
    model: nn.Module,
    *,
    inputs: Inputs | None = None,
    data: Data | None = None,
    methods: Sequence[CompressionMethod | str] = DEFAULT_METHODS,
    levels: Levels | None = None,
    layers: LayersLike = None,
    latents: Iterable[Latent | str] = DEFAULT,
    metrics: Mapping[str, Metric] | None = None,
    kind: Kind | None = None,
    scale: float | None = None,
    outputs: Outputs | None = None,
    padding: int | None = None,
    seed: int = 0,
    early_stop: bool = True,
    cache: str | os.PathLike[str] | None = None,
    memory: int = MEMORY,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Compress every layer alone, by every method at every level, and measure what each does to the network.

    Each number equals what ``compress`` of that layer and a run of the whole network give. The network is not changed.

    Args:
        model: The network. It is left exactly as it was found, also when the scan is interrupted.
        inputs: Unlabelled inputs, on which predictions are compared (KL in nats, total variation, disagreement): a
            tensor (token ids for a language model), or batches. Those of ``data`` when None. They are kept in memory.
        data: (inputs, targets), to measure the differences of loss and accuracy on; for a language model the token that
            each position is to predict, −100 where there is none.
        methods: Names (lowest, highest, random, structured, quantise, low_rank), or method objects, of which level and
            layers are replaced.
        levels: Fractions to remove, bits, or ranks as fractions to keep, for all methods; or a mapping by method.
        layers: Which layers; every convolution and linear layer by default, tied weights once.
        latents: Latent distributions of the AP3 columns. The Σ⁻¹ of ``"input"``, ``"fisher"``, ``"kfac"`` and the
            others of ``informed_latents`` is gathered from the inputs first.
        metrics: Name → metric for ``data``; loss (nats) and accuracy (fraction) by default, squared_error for a
            regression.
        kind: What the outputs predict: classes, tokens or regression. None tells from their shape: three dimensions are
            tokens, two are classes, or numbers if a scale is given.
        scale: Standard deviation s of a regression's prediction N(f(x), s²I): ``residual_scale`` estimates it.
        outputs: Finds the tensor of scores in what the network returns; None takes a tensor, or the one called
            ``logits``.
        padding: Token id that marks positions that do not count.
        seed: Of methods that draw: each candidate draws anew, so that a higher level removes what a lower one does.
        early_stop: Whether to leave out the harsher levels of a layer that has collapsed under a method.
        cache: A folder or an SQLite file in which every finished candidate is kept at once, by the content of weights,
            inputs, targets, settings and version, so that an interrupted scan resumes.
        memory: Most bytes of activations held between candidates; what does not fit is computed again.
        batch_size: Inputs a forward pass when they come as one tensor; None takes 256, or as many sequences as make
            2,048 tokens.
        progress: Called after each candidate.

    Returns:
        A row a candidate. A candidate that changes nothing, or cannot be applied, is not measurable and says why.

    Raises:
        CompressionError: If methods or levels are not usable.
        SelectionError: If no layer is selected.
        DataError: If inputs or data are not what is needed, or the network fails on them.
        StoreError: If the cache cannot be used.
        LatentError: If a latent is unknown.

    Source: derived here; tests/analysis/scan/test_scan.py compares with compressing and running whole networks.
    """
    begun = time.perf_counter()
    sweeps, asked = as_sweeps(methods, levels), [*latents]
    names = list(compressible(model, layers))
    _check(model, names, layers, cache, metrics)
    reading = Reading(kind=kind, scale=scale, padding=padding, outputs=outputs).checked()
    metrics = default_metrics(reading.regression) if metrics is None else metrics
    samples = samples_of(inputs, data, reading, batch_size)
    chosen = _chosen(asked, model, samples, reading, layers)
    # What a name gathers follows from the network and the inputs, which are told apart in other ways.
    named = [name if informed_names([name]) else latent for name, latent in zip(asked, chosen, strict=True)]
    with ExitStack() as stack:
        store = None if cache is None else stack.enter_context(ScanCache(cache))
        for context in (preserved(model), evaluation_mode(model), torch.no_grad()):
            stack.enter_context(context)
        passes = Passes(model, samples.inputs, memory, outputs) if samples.inputs else None
        yardstick = None
        if passes is not None:
            yardstick = Yardstick(samples, passes.dense, metrics, reading, required=inputs is not None)
        identity = "" if store is None else identity_of(model, samples, passes, reading, named, seed)
        walk = Walk(passes, yardstick, chosen, seed=seed, early_stop=early_stop, store=store, identity=identity)
        rows = _walked(walk, layers_of(model, names), sweeps, progress)
        notes = () if store is None else tuple(store.damaged)
    settings = ScanSettings(
        model=type(model).__name__,
        methods={sweep.name: tuple(sweep.methods) for sweep in sweeps},
        layers=msgspec.json.encode(LayerSelection.of(layers)).decode(),
        latents=tuple(map(described, named)),
        inputs=samples.inputs_predicted,
        samples=samples.labelled,
        metrics=tuple(metrics) if samples.labelled else (),
        kind=None if yardstick is None else yardstick.kind,
        scale=scale,
        padding=padding,
        seed=seed,
        early_stop=early_stop,
        rule=RULES[yardstick.kind if yardstick and yardstick.kind else "classes"],
        version=version(),
    )
    cost = _cost(walk, passes, rows, memory, time.perf_counter() - begun)
    return Scan(rows=rows, cost=cost, settings=settings, notes=notes)


def _chosen(
    asked: list[Latent | str], model: nn.Module, samples: Samples, reading: Reading, layers: LayersLike
) -> tuple[Latent, ...]:
    """The latents, with what is gathered from the inputs whose predictions are compared."""
    inputs = [batch for batch, predicted in zip(samples.inputs, samples.predicted, strict=True) if predicted]
    if inputs and informed_names(asked):
        options = {"kind": reading.kind, "scale": reading.scale, "padding": reading.padding, "outputs": reading.outputs}
        asked = informed_latents(asked, model, inputs, layers=layers, **options)
    return resolve_latents(asked)


def _check(
    model: nn.Module,
    names: Sequence[str],
    layers: LayersLike,
    cache: str | os.PathLike[str] | None,
    metrics: Mapping[str, Metric] | None,
) -> None:
    if not names:
        raise SelectionError(
            f"layers={layers!r} selects nothing to scan; the layers are {listing(compressible(model))}"
        )
    if cache is not None and metrics is not None:
        raise DataError("a cache cannot know whether a function has changed; leave out metrics= or cache=")


def _walked(
    walk: Walk, layers: Sequence[Layer], sweeps: Sequence[Sweep], progress: Progress | None
) -> tuple[ScanRow, ...]:
    """The rows of all layers in the order given, measured in the order in which the network uses them."""
    total = len(layers) * sum(len(sweep.methods) for sweep in sweeps)
    rows: dict[str, list[ScanRow]] = {layer.view.name: [] for layer in layers}
    done = 0
    for layer, position in walk.in_order(layers):
        for row in walk.rows(layer, position, sweeps):
            rows[row.layer].append(row)
            done += 1
            if progress is not None:
                progress(done, total, row.layer)
    order = {(sweep.name, level): at for at, (sweep, level) in enumerate((s, lv) for s in sweeps for lv in s.methods)}
    return tuple(row for found in rows.values() for row in sorted(found, key=lambda row: order[row.method, row.level]))


def _cost(walk: Walk, passes: Passes | None, rows: Sequence[ScanRow], memory: int, seconds: float) -> ScanCost:
    return ScanCost(
        candidates=len(rows),
        forwards=sum(row.forward_equivalents > 0 for row in rows),
        from_cache=walk.from_cache,
        not_run=walk.not_run,
        forward_equivalents=0.0 if passes is None else passes.spent,
        seconds=seconds,
        prefix_cached=passes is not None and passes.prefix_cached,
        reason="no inputs: nothing was run" if passes is None else passes.reason,
        batched=walk.batched,
        apart=None if passes is None else passes.apart,
        held=0 if passes is None else passes.most_held,
        memory=memory,
    )
