"""What sparsity every layer gets: a plan under a budget of weights, or under a predicted drop."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import nn

from shrinkscope.analysis.plan.allocations import NAMES, Allocation
from shrinkscope.analysis.plan.batches import batches_of, for_statistics
from shrinkscope.analysis.plan.channels.planning import channels_plan
from shrinkscope.analysis.plan.choices import choices_plan
from shrinkscope.analysis.plan.method_names import STRUCTURED, UNSTRUCTURED, as_methods
from shrinkscope.analysis.plan.parts import PlanSettings
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.unstructured import unstructured_plan
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.compression.checks import check_finite, listing
from shrinkscope.compression.scope import selected
from shrinkscope.errors import CompressionError, SelectionError
from shrinkscope.performance import Reading
from shrinkscope.performance.data import Inputs
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Kind
from shrinkscope.weights import LayerSelection, LayersLike, compressible

BUDGET = 50_000.0
"""Passes of the network over one input that a search takes at most: half of ten evaluations of 10,000 test inputs."""

_BATCH = 64  # inputs a pass: small, so that hopeless moves are given up after few


def plan(
    model: nn.Module,
    *,
    sparsity: float | None = None,
    max_drop: float | None = None,
    size: int | str | None = None,
    flops: float | None = None,
    inputs: Inputs | None = None,
    shape: Sequence[int] | None = None,
    layers: LayersLike = None,
    keep: Sequence[str] = (),
    bits: float | None = None,
    method: str | Sequence[str] = "unstructured",
    allocation: Allocation = "joint",
    compensate: bool = False,
    reestimate: bool = False,
    damping: float = 0.01,
    calibration: Calibration | None = None,
    kind: Kind | None = None,
    scale: float | None = None,
    padding: int | None = None,
    outputs: Outputs | None = None,
    seed: int = 0,
    budget: float = BUDGET,
    batch_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Plan:
    """Choose how many weights to remove in each layer, or how many bits they get.

    Every second input is searched on and the others judge, so that a plan that fits the few inputs gains nothing. The
    same arguments give the same plan.

    Args:
        model: The dense network; left as it is.
        sparsity: Fraction of the planned layers' weights to remove, in [0, 1), met to the nearest weight.
        max_drop: In its place, the largest predicted drop, in (0, 1): of the calibration where there is one, else the
            share of inputs whose predicted class changes, which no drop of accuracy on them exceeds. The sparsest
            network that the search finds within it.
        size: In its place, bytes of the whole network: a number, ``"400kB"`` or ``"0.3x"`` of what it takes now. Pruned
            tensors take a bit for each weight and what stays; nothing else is made smaller.
        flops: In its place, floating-point operations of a pass over one input: a share of them below 1, or a number.
            Those with removed weights are not counted, which kernels that skip zeros save.
        inputs: Unlabelled inputs, at least 4; a tensor or batches.
        shape: Shape of one input, to make synthetic inputs of where there are none.
        layers: Which layers; every convolution and linear layer by default, tied weights once.
        keep: Globs of layers to leave alone; they are no part of the sparsity.
        bits: In its place, with ``method="bits"``, the mean number of bits of the planned weights.
        method: ``unstructured`` chooses how many weights go. The others choose for each layer whether it stays as it is
            or what is done to it, by ``joint``, ``additive`` or ``uniform``: ``bits`` rounds it to 8, 6, 5, 4, 3 or 2
            bits with a step for each output channel; ``n:m`` keeps 6 of 8, 4 of 8, 2 of 4, 2 of 8, 1 of 4 or 1 of 8
            weights in a row, a single pattern such as ``2:4`` that one; ``low_rank`` makes it a product of two factors.
            Several, in a sequence or with commas between them, choose among all of theirs, ``magnitude`` being
            unstructured pruning by 25 to 95 % there; with ``bits`` also pruned layers are rounded. ``structured``,
            alone, chooses how many channels go of each group of coupled ones; there ``global`` is an allocation, too,
            and what is counted is what the network takes without them.
        allocation: ``joint`` searches on the predictions with all layers pruned together. The others are baselines:
            ``additive``, ``sensitivity`` and ``owl`` (inputs), ``uniform``, ``global``, ``erk``, ``lamp``,
            ``alpha_pruning``.
        compensate: Whether the weights that stay make up for those that go, as in ``CompensatedPruning``, with the
            input moments of all inputs; otherwise the lowest magnitudes go and nothing moves.
        reestimate: Whether batch norm's statistics will be estimated anew afterwards (``reestimate_statistics``):
            pruned networks are then run with those of each batch, which other levels are best for.
        damping: Of the input moments when compensating, as a multiple of their mean.
        calibration: Measured configurations with the joint KL as their only rung: gives the predicted difference.
        kind: What the outputs predict; told from their shape when None.
        scale: Standard deviation of a regression's prediction.
        padding: Token id that marks positions that do not count.
        outputs: Finds the tensor of scores in what the network returns.
        seed: Of random moves, and of synthetic inputs.
        budget: Most passes of the network over one input that the search takes after the starts are measured.
        batch_size: Inputs a pass, 64 by default.
        progress: Called with the share that is done.

    Returns:
        The plan. Without inputs it has no prediction.

    Raises:
        CompressionError: If the target is not one of the two, or out of range, or the allocation is unknown.
        DataError: If the allocation or the target needs inputs and there are none, or too few.
        SelectionError: If no layer is left.

    Source: derived here; docs/allocation.md compares the allocations on trained networks.
    """
    methods = as_methods(method)
    targets = {"sparsity": sparsity, "max_drop": max_drop, "size": size, "flops": flops, "bits": bits}
    _check(targets, methods, allocation, budget)
    weights = _planned(model, layers, keep)
    reading = Reading(kind=kind, scale=scale, padding=padding, outputs=outputs)
    seen = batches_of(model, inputs, shape, seed, batch_size or _BATCH)
    batches = for_statistics(model, seen.batches) if reestimate else seen.batches
    settings = PlanSettings(
        allocation=allocation,
        sparsity=sparsity,
        max_drop=max_drop,
        size=size,
        flops=flops,
        keep=tuple(keep),
        inputs=sum(len(batch) for batch in batches),
        searched=sum(len(batch[::2]) for batch in batches),
        source=seen.source,
        seed=seed,
        budget=budget,
        within="compensated" if compensate else "magnitude",
        damping=damping if compensate else None,
        reestimate=reestimate,
        method=",".join(methods),
        bits=bits,
    )
    if methods == (STRUCTURED,):
        made = channels_plan(model, weights, batches, reading, settings, calibration, progress)
    elif methods == (UNSTRUCTURED,):
        made = unstructured_plan(model, weights, batches, reading, settings, calibration, progress)
    else:
        made = choices_plan(model, weights, batches, reading, settings, methods, calibration, progress)
    return msgspec.structs.replace(made, forward_equivalents=made.forward_equivalents + seen.spent)


def _planned(model: nn.Module, layers: LayersLike, keep: Sequence[str]) -> dict[str, torch.Tensor]:
    weights = selected(compressible(model), layers)
    if keep:
        alone = selected(weights, LayerSelection.of(list(keep)))
        weights = {name: weight for name, weight in weights.items() if name not in alone}
        if not weights:
            raise SelectionError(f"keep={list(keep)!r} leaves no layer to prune; the layers are {listing(alone)}")
    for name, weight in weights.items():
        check_finite(name, weight)
    return weights


def _check(targets: dict[str, Any], methods: Sequence[str], allocation: str, budget: float) -> None:
    bits, of_bits = targets["bits"], tuple(methods) == ("bits",)
    if not of_bits and bits is None:
        del targets["bits"]
    given = [f"{name} = {value}" for name, value in targets.items() if value is not None]
    if len(given) != 1:
        raise CompressionError(
            f"{' and '.join(given) or 'no target'}; expected one of {', '.join(targets)}, for example sparsity=0.7"
        )
    sparsity, max_drop = targets["sparsity"], targets["max_drop"]
    if sparsity is not None and not 0 <= sparsity < 1:
        raise CompressionError(f"sparsity is {sparsity}; expected a fraction in [0, 1), for example 0.7")
    if max_drop is not None and not 0 < max_drop < 1:
        raise CompressionError(f"max_drop is {max_drop}; expected a fraction in (0, 1), for example 0.01")
    if bits is not None and not (of_bits and 0 < bits < math.inf):
        raise CompressionError(f"bits = {bits}; expected a positive mean number of bits, with method='bits'")
    if allocation not in NAMES:
        raise CompressionError(f"allocation is {allocation!r}; expected one of {', '.join(NAMES)}")
    if not budget > 0:
        raise CompressionError(f"budget is {budget}; expected a positive number of passes over one input")


__all__ = ["BUDGET", "plan"]
