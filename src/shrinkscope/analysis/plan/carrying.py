"""What a row of a plan makes of a layer's weights."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from shrinkscope.analysis.plan.pruning import mask_of
from shrinkscope.compression import LowRank, Mask, PatternPruning
from shrinkscope.compression.mask import keep
from shrinkscope.compression.rung_path import quantised


class Change(Protocol):
    """What is done to one layer."""

    @property
    def removed(self) -> int:
        """Number of weights that go."""
        ...

    @property
    def pattern(self) -> str | None:
        """N:M, by which they go; the lowest magnitudes go without one."""
        ...

    @property
    def rank(self) -> int | None:
        """Rank of what takes the layer's place."""
        ...

    @property
    def bits(self) -> int | None:
        """Bits of the weights that stay."""
        ...


def carried_out(name: str, weight: Tensor, change: Change) -> Tensor:
    """The weights of a layer: pruned or of smaller rank, then rounded.

    Args:
        name: The layer, for messages.
        weight: Its dense weight.
        change: What is done to it.

    Returns:
        A new tensor of the same shape and type, or the given one if nothing is done.

    Raises:
        CompressionError: If the weight cannot be ranked, factorised or rounded.
    """
    found = weight.detach()
    if change.rank is not None:
        found = LowRank(rank=change.rank).compress({name: found})[name]
    elif change.removed:
        found = keep(found, kept_of(name, found, change))
    return found if change.bits is None else quantised(name, found, change.bits)


def kept_of(name: str, weight: Tensor, change: Change) -> Tensor:
    """Which weights of a layer stay, bool, of its shape.

    Args:
        name: The layer, for messages.
        weight: Its dense weight.
        change: What is done to it.

    Raises:
        CompressionError: If the weight cannot be ranked.
    """
    if change.pattern is not None:
        return PatternPruning(pattern=change.pattern).mask({name: weight})[name]
    if not change.removed:
        return torch.ones(weight.shape, dtype=torch.bool)
    return mask_of({name: weight}, {name: (change.removed, weight.numel())})[name]


def kept_by(weights: Mapping[str, Tensor], changes: Mapping[str, Change]) -> Mask:
    """The mask of several layers.

    Args:
        weights: Layer → dense weight.
        changes: Layer → what is done to it.

    Raises:
        CompressionError: If a weight cannot be ranked.
    """
    return Mask({name: kept_of(name, weights[name], change) for name, change in changes.items()})
