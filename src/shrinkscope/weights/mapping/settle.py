"""Kept channels settled by all layers that share them: a channel that one layer cannot tell, another may."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.mapping.channels import channels_of
from shrinkscope.weights.mapping.kept import KeptSet, KeptSets, spread
from shrinkscope.weights.mapping.matching import TILE, Channels, match, paired_cosines
from shrinkscope.weights.mapping.rules import Alignment
from shrinkscope.weights.mapping.search import Layer, Solution, median_cosine, uncertain

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDS = 2
_WIDEST = TILE // 64

_Use = tuple[Layer, int, "Tensor | None"]


def settle(
    layers: Mapping[str, Layer], solved: Mapping[str, Solution], sets: KeptSets, rules: Alignment
) -> tuple[dict[str, Solution], dict[str, str]]:
    """The solutions after every set that is not wholly certain has been matched again in all its layers together.

    A channel is then the vector of all weights that touch it, each layer's divided by their root mean square.

    Args:
        layers: All layers that were cut.
        solved: Those of which the kept channels are known so far.
        sets: The sets that these share; changed here.
        rules: When a match is certain, and when it is enough.

    Returns:
        The solutions that are certain enough, and the doubts about the others.
    """
    loose = [one for one in sets if one.certainty < 1.0]
    current = dict(solved)
    for _ in range(_ROUNDS):
        for one in sorted(loose, key=lambda one: -one.certainty):
            _match_again(one, layers, current, rules.margin)
        current = {name: _renewed(found, layers[name]) for name, found in current.items()}
    kept = {name: found for name, found in current.items() if found.certainty >= rules.certainty}
    doubts = {n: uncertain(f.certainty, f.cosine, rules) for n, f in current.items() if n not in kept}
    return kept, doubts


def _match_again(one: KeptSet, layers: Mapping[str, Layer], solved: Mapping[str, Solution], margin: float) -> None:
    uses = _uses(one, layers, solved)
    wide = _together([(channels_of(layer.before, axis, other), layer) for layer, axis, other in uses])
    narrow = _together([(channels_of(layer.after, axis), layer) for layer, axis, _ in uses])
    if wide is None or narrow is None:
        return
    found = match(wide, narrow, margin)
    if found.certainty >= one.certainty:
        one.kept, one.sure, one.certainty = found.kept, found.sure, found.certainty


def _uses(one: KeptSet, layers: Mapping[str, Layer], solved: Mapping[str, Solution]) -> list[_Use]:
    """Layers that have the channels along a dimension, with the kept channels along their other dimension."""
    uses: list[_Use] = []
    width = 0
    for name, found in solved.items():
        for axis in (0, 1):
            layer = layers[name]
            if found.sets[axis] is not one or layer.before.shape[axis] != one.size:
                continue
            other = found.sets[1 - axis]
            index = None if other is None else spread(other, layer.before.shape[1 - axis])
            width += layer.before.parameters // one.size
            if not uses or width <= _WIDEST:
                uses.append((layer, axis, index))
    return uses


def _together(parts: list[tuple[Channels, Layer]]) -> Channels | None:
    """The channels of several tensors joined, each tensor divided by its dense root mean square."""
    if not parts:
        return None
    scales = [_scale(layer) for _, layer in parts]
    return Channels(
        count=parts[0][0].count,
        width=sum(channels.width for channels, _ in parts),
        read=lambda low, high: torch.cat(
            [channels.read(low, high) / scale for (channels, _), scale in zip(parts, scales, strict=True)], dim=1
        ),
    )


def _scale(layer: Layer) -> float:
    square = sum(float(chunk.to(torch.float64).square().nansum()) for chunk in layer.before.chunks())
    return math.sqrt(square / layer.before.parameters) or 1.0


def _renewed(found: Solution, layer: Layer) -> Solution:
    """The solution with what its sets say now."""
    sizes = layer.before.shape
    first, second = (None if one is None else spread(one, sizes[axis]) for axis, one in enumerate(found.sets))
    axis = 0 if first is not None else 1
    mine, other = (first, second) if axis == 0 else (second, first)
    if mine is None:
        return found
    wide, narrow = channels_of(layer.before, axis, other), channels_of(layer.after, axis)
    return msgspec.structs.replace(
        found,
        kept=(first, second),
        certainty=min(one.certainty for one in found.sets if one is not None),
        cosine=median_cosine(paired_cosines(wide, narrow, mine)),
        in_order=all(bool((index[1:] > index[:-1]).all()) for index in (first, second) if index is not None),
    )
