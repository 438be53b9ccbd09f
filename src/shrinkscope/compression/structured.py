"""Structured pruning: remove whole output channels by the norm of their weights."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, get_args

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import (
    as_fraction,
    as_layers,
    check_choice,
    check_finite,
    check_floating,
    percent,
    rows,
    where,
)
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.random_pruning import random_scores
from shrinkscope.compression.ranking import Scores
from shrinkscope.compression.scope import SCOPES, Scope, removed_in_scope, selected
from shrinkscope.weights import LayersLike

ChannelOrder = Literal["lowest", "highest", "random"]
Norm = Literal["l1", "l2"]


class StructuredPruning(
    msgspec.Struct, frozen=True, kw_only=True, tag="structured", tag_field="kind", forbid_unknown_fields=True
):
    """Removes whole output channels: the rows of a linear layer, the filters of a convolution.

    A channel is removed by setting its weights to zero, so shapes stay and the mask has the weight's shape. Biases and
    the batch norm behind the layer stay as they are: a removed channel still puts out its constant. Channels are
    dimension 0 of the weight, which for a transposed convolution would be its *input* channels; ``prune`` refuses
    those.

    Attributes:
        level: Fraction of output channels to remove, in [0, 1]. In one layer it is the fraction of weights, too (up to
            rounding to whole channels); with ``global`` scope it is not, since channels differ in size.
        norm: Rank channels by the sum of absolute weights (l1) or the root of the sum of squares (l2).
        order: Remove the channels of lowest norm, of highest norm, or at random.
        scope: ``layer``, ``global`` or ``last``. Global ranking compares plain norms, which grow with the number of
            inputs of a channel.
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If an option is out of range.

    Examples:
        >>> str(StructuredPruning(level=0.5, norm="l2"))
        'lowest L2 channels 50 % (layer)'

    Source: Li et al. (2017), "Pruning filters for efficient ConvNets" (l1).
    """

    level: float
    norm: Norm = "l1"
    order: ChannelOrder = "lowest"
    scope: Scope = "layer"
    layers: LayersLike = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "level", as_fraction("level", self.level))
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        check_choice("norm", self.norm, get_args(Norm))
        check_choice("order", self.order, get_args(ChannelOrder))
        check_choice("scope", self.scope, SCOPES)

    def __str__(self) -> str:
        ranked = "random" if self.order == "random" else f"{self.order} {self.norm.upper()}"
        return f"{ranked} channels {percent(self.level)} ({self.scope}{where(self.layers)})"

    def mask(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Mask:
        """The mask that removes exactly the asked number of channels, equal norms by layer and index.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Source of randomness, required when ``order`` is random and not used otherwise.

        Returns:
            A mask of the selected layers; all entries of one output channel agree.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values, is not floating point or has no
                dimensions, or a random order lacks its generator.
            SelectionError: If no layer is selected.
        """
        chosen = selected(weights, self.layers, self.scope)
        if self.order == "random":
            removed = removed_in_scope(_random(chosen, generator), self.level, self.scope, "lowest")
        else:
            removed = removed_in_scope(_norms(chosen, self.norm), self.level, self.scope, self.order)
        return Mask({name: _spread(~removed[name], weight) for name, weight in chosen.items()})

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights with those outside ``mask(weights)`` set to zero; layers not selected are the same tensors."""
        return self.mask(weights, generator).applied_to(weights)


def _random(weights: Mapping[str, Tensor], generator: torch.Generator | None) -> dict[str, Scores]:
    for name, weight in weights.items():
        check_floating(name, weight)
    return random_scores({name: len(_channels(name, weight)) for name, weight in weights.items()}, generator)


def _norms(weights: Mapping[str, Tensor], norm: Norm) -> dict[str, Scores]:
    scores = {}
    for name, weight in weights.items():
        check_finite(name, weight)
        channels = _channels(name, weight)
        scores[name] = Scores(size=len(channels), read=partial(_channel_norms, channels, 1 if norm == "l1" else 2))
    return scores


def _channels(name: str, weight: Tensor) -> Tensor:
    """One row for each channel that can be removed: none where the channels have no weights."""
    matrix = rows(name, weight.detach())
    return matrix if weight.numel() else matrix[:0]


def _channel_norms(channels: Tensor, exponent: int) -> Tensor:
    return torch.linalg.vector_norm(channels, ord=exponent, dim=1, dtype=torch.float64)


def _spread(kept: Tensor, weight: Tensor) -> Tensor:
    if not weight.numel():
        return torch.ones(weight.shape, dtype=torch.bool)
    return kept.view(-1, *(1,) * (weight.dim() - 1)).expand(weight.shape)
