"""Layer-adaptive magnitude-based pruning."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.global_magnitude import lowest


def lamp(weights: Mapping[str, Tensor], total: int, prices: Mapping[str, int] | None = None) -> Counts:
    """One threshold for all layers of w² over the sum of all squares of the layer that are not smaller.

    Args:
        weights: Layer → weight.
        total: Number of weights to remove in all, or what they cost.
        prices: Layer → what a weight costs; 1 everywhere when None.

    Returns:
        Layer → number to remove.

    Source: Lee, Park, Mo, Ahn & Shin (2021), "Layer-adaptive sparsity for the magnitude-based pruning", eq. 3.
    """
    return lowest({name: lamp_scores(weight) for name, weight in weights.items()}, total, prices)


def lamp_scores(weight: Tensor) -> Tensor:
    """The scores of a layer, flat, float64; the largest weight has 1, and a layer of zeros has 0.

    Args:
        weight: Its weight.
    """
    squares = weight.detach().to("cpu", torch.float64).flatten().square()
    order = squares.argsort(stable=True)
    ascending = squares[order]
    remaining = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(remaining > 0, ascending / remaining, 0.0)
    return scores
