"""Which weights of one layer go, and what the others become."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from shrinkscope.analysis.blocks.moments import BlockMoments
from shrinkscope.compression import compensated_to_counts
from shrinkscope.compression.mask import keep
from shrinkscope.compression.ranking import Scores, removed_by_rank
from shrinkscope.compression.swept import sweep
from shrinkscope.latent import KroneckerPrecision, Precisions

Within = Literal["magnitude", "informed", "swept", "compensated"]
WITHIN: tuple[Within, ...] = get_args(Within)

NEEDS: dict[Within, Literal["nothing", "squares", "products"]] = {
    "magnitude": "nothing",
    "informed": "squares",
    "swept": "products",
    "compensated": "products",
}
"""What each looks at of a layer's input."""


def pruned_layer(
    name: str, weight: Tensor, removed: int, within: Within, moments: BlockMoments | None, damping: float
) -> Tensor:
    """A layer's weight with so many of its entries removed.

    Args:
        name: Of the weight.
        weight: Shape (rows, columns).
        removed: How many go.
        within: ``magnitude``: the lowest |w|. ``informed``: the lowest |w|·‖x‖ (Wanda's score, over the whole layer).
            ``swept``: as SparseGPT does, the others make up for them. ``compensated``: likewise in the steps of
            ``compensated_to_counts``, closer to the optimum, for rows · columns³ operations.
        moments: Of the layer's input; None for ``magnitude``.
        damping: Of the moments, where weights move.

    Returns:
        Of the weight's shape and type, zero where removed.

    Raises:
        CompressionError: If the moments do not determine the weights.
    """
    if not removed:
        return weight
    if within == "swept":
        assert moments is not None  # gathered for it
        return sweep(weight, moments.matrix(name), removed, damping=damping).weight
    if within == "compensated":
        assert moments is not None  # likewise
        precision = KroneckerPrecision(moments.matrix(name).cpu()[None, None], len(weight))
        precisions = Precisions("input", {name: precision}, {}, "full second moments")
        return compensated_to_counts({name: weight}, {name: removed}, precisions, damping=damping)[1][name]
    squares = moments.matrix(name) if within == "informed" and moments is not None else None
    return keep(weight, kept_largest(weight, removed, squares))


def kept_largest(weight: Tensor, removed: int, squares: Tensor | None) -> Tensor:
    """Which weights stay when those of least importance go, bool; equal ones go in the order of their indices.

    Args:
        weight: Shape (rows, columns).
        removed: How many go.
        squares: Mean square of each column's input; |w| alone decides when None.
    """
    read: Callable[[], Tensor] = partial(importance, weight, squares)
    (gone,) = removed_by_rank([Scores(size=weight.numel(), read=lambda: read().reshape(-1))], removed, "lowest")
    return ~gone.view(weight.shape).to(weight.device)


def importance(weight: Tensor, squares: Tensor | None) -> Tensor:
    """|w|, or w²E[x²], of the weight's shape.

    Args:
        weight: Shape (rows, columns).
        squares: As for ``kept_largest``.
    """
    if squares is None:
        return weight.detach().abs()
    return weight.detach().to(torch.float64).square() * squares.to(weight.device)
