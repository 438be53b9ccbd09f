"""Search for the counts at which the predictions change least, all layers pruned together."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from shrinkscope.analysis.blocks.passes import Passes
from shrinkscope.analysis.blocks.sensitivity import first_order_changes
from shrinkscope.analysis.plan.additive import CostCurve, additive
from shrinkscope.analysis.plan.counts import Counts

ROUNDS = 12
"""Configurations that are tried."""

_STEP, _SMALLEST = 0.12, 0.01  # of the level of a layer
_HIGHEST = 0.98  # level of a layer: the last weights of a layer are no matter of a first order


class Found(NamedTuple):
    """Counts, and the KL of each sequence with them."""

    counts: Counts
    kl: Tensor


def refined(
    passes: Passes, start: Found, rounds: int = ROUNDS, progress: Callable[[int], None] | None = None
) -> tuple[Found, ...]:
    """Move weights between layers along the gradient of the joint KL for as long as that falls.

    Every second sequence is searched on. In each round all layers may move by a step, those lose more whose weights
    the gradient says cost least; a step that does not help is halved and tried again with the same gradient.

    Args:
        passes: Of the network, its dense pass done.
        start: Where to begin.
        rounds: Configurations that are tried.
        progress: Called with the number tried.

    Returns:
        The start and every configuration that was better than the ones before it on the sequences searched on.
    """
    searched = [*range(0, len(passes.tokens), 2)]
    taken, step, changes = [start], _STEP, None
    passes.pruned(start.counts)  # what goes back is through the network as it was last pruned
    for round_number in range(rounds):
        if changes is None:
            changes = first_order_changes(passes, taken[-1].counts, searched)
        counts = moved(changes, taken[-1].counts, passes.sizes, step)
        kl = passes.pruned(counts)
        if float(kl[searched].mean()) < float(taken[-1].kl[searched].mean()):
            taken.append(Found(counts, kl))
            changes = None
        else:
            step /= 2
        if progress is not None:
            progress(round_number + 1)
        if step < _SMALLEST:
            break
    return tuple(taken)


def moved(
    changes: Mapping[str, tuple[np.ndarray, np.ndarray]], counts: Counts, sizes: Mapping[str, int], step: float
) -> Counts:
    """The counts of least first-order change within a step, as many in all as before.

    Args:
        changes: As ``first_order_changes`` returns them.
        counts: The present counts.
        sizes: Layer → number of weights.
        step: By how much of its size a layer's count may change.
    """
    curves, lowest = {}, {}
    for name, (numbers, values) in changes.items():
        low = max(0, counts[name] - round(step * sizes[name]))
        high = max(counts[name], min(counts[name] + round(step * sizes[name]), round(_HIGHEST * sizes[name])))
        inner = numbers[(numbers > low) & (numbers < high)]
        points = np.array(sorted({low, high, counts[name], *inner.tolist()}))
        costs = np.interp(points, numbers, values)
        lowest[name] = low
        curves[name] = CostCurve((points - low).tolist(), (costs - costs[0]).tolist())
    extra = additive(curves, sum(counts.values()) - sum(lowest.values()))
    return {name: lowest[name] + extra[name] for name in counts}
