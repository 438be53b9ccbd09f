"""One threshold of magnitude for all layers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkscope.analysis.plan.counts import Counts, apportion
from shrinkscope.analysis.plan.prices import in_units


def global_magnitude(weights: Mapping[str, Tensor], total: int, prices: Mapping[str, int] | None = None) -> Counts:
    """How many of the lowest magnitudes of all layers together lie in each.

    Args:
        weights: Layer → weight.
        total: Number of weights to remove in all, or what they cost.
        prices: Layer → what a weight costs; 1 everywhere when None.

    Returns:
        Layer → number to remove; equal magnitudes by layer and index.

    Source: Han et al. (2015), with one threshold for the network.
    """
    return lowest({name: weight.detach().abs().flatten() for name, weight in weights.items()}, total, prices)


def lowest(scores: Mapping[str, Tensor], total: int, prices: Mapping[str, int] | None = None) -> Counts:
    """How many of the lowest scores of all layers together lie in each.

    Args:
        scores: Layer → scores, flat.
        total: Number of scores, or what they cost.
        prices: Layer → what one costs; 1 everywhere when None.

    Returns:
        Layer → number of its scores among them, or what they cost; equal scores by layer and index.
    """
    sizes = torch.tensor([len(values) for values in scores.values()])
    layer_of = torch.arange(len(sizes)).repeat_interleave(sizes)
    everything = torch.cat([values.to("cpu", torch.float64) for values in scores.values()])
    order = layer_of[everything.argsort(stable=True)]
    if prices is not None:
        spent = torch.tensor([prices[name] for name in scores])[order].cumsum(0)
        order = order[: int((spent <= total).sum())]
    counts = dict(zip(scores, torch.bincount(order[:total], minlength=len(sizes)).tolist(), strict=True))
    if prices is None:
        return counts
    whole = in_units(dict(zip(scores, sizes.tolist(), strict=True)), prices)
    # What is left of the total does not pay for the next weight.
    return apportion({name: counts[name] * prices[name] / max(1, size) for name, size in whole.items()}, whole, total)
