"""One threshold of magnitude for all layers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkscope.analysis.plan.counts import Counts


def global_magnitude(weights: Mapping[str, Tensor], total: int) -> Counts:
    """How many of the lowest magnitudes of all layers together lie in each.

    Args:
        weights: Layer → weight.
        total: Number of weights to remove in all.

    Returns:
        Layer → number to remove; equal magnitudes by layer and index.

    Source: Han et al. (2015), with one threshold for the network.
    """
    return lowest({name: weight.detach().abs().flatten() for name, weight in weights.items()}, total)


def lowest(scores: Mapping[str, Tensor], total: int) -> Counts:
    """How many of the lowest scores of all layers together lie in each.

    Args:
        scores: Layer → scores, flat.
        total: Number of scores.

    Returns:
        Layer → number of its scores among them; equal scores by layer and index.
    """
    sizes = torch.tensor([len(values) for values in scores.values()])
    layer_of = torch.arange(len(sizes)).repeat_interleave(sizes)
    everything = torch.cat([values.to("cpu", torch.float64) for values in scores.values()])
    chosen = layer_of[everything.argsort(stable=True)[:total]]
    return dict(zip(scores, torch.bincount(chosen, minlength=len(sizes)).tolist(), strict=True))
