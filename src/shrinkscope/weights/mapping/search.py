"""Finding the kept channels of one layer: first the sets that other layers have are tried, then all its channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.mapping.channels import channels_of
from shrinkscope.weights.mapping.kept import KeptSet, KeptSets, agreeing
from shrinkscope.weights.mapping.matching import Channels, chance_cosine, match, paired_cosines
from shrinkscope.weights.mapping.rules import Alignment
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_CLOSE = 0.5
_SPREAD = 0.3


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of two dimensions or more whose first two sizes differ between the networks.

    Attributes:
        before, after: The tensor in both networks.
        position: Its place in the dense network.
        given: Dimension → kept channels, where the user gave them.
    """

    before: TensorView
    after: TensorView
    position: int
    given: Mapping[int, Tensor]

    @property
    def axes(self) -> list[int]:
        """The dimensions along which channels were removed."""
        return [axis for axis in (0, 1) if self.before.shape[axis] != self.after.shape[axis]]


class Solution(msgspec.Struct, frozen=True, kw_only=True):
    """The kept channels of one layer.

    Attributes:
        kept: Indices along dimensions 0 and 1; None where nothing was removed.
        sets: The set that each belongs to; not yet a known one while there is doubt.
        certainty: Share of certain matches; that of a known set when the layer agrees with it.
        cosine: Median cosine of the paired channels.
        in_order: Whether the indices ascend.
        how: Where the indices come from, for people.
        doubt: Why the layer is not to be compared; None when it is.
    """

    kept: tuple[Tensor | None, Tensor | None]
    sets: tuple[KeptSet | None, KeptSet | None]
    certainty: float
    cosine: float
    in_order: bool
    how: str
    doubt: str | None = None


def search(layer: Layer, sets: KeptSets, rules: Alignment) -> Solution | None:
    """The kept channels of a layer; None while nothing is known of one dimension and both were cut.

    Args:
        layer: The layer.
        sets: Known sets; those found here are added when they are certain.
        rules: When a match is certain, and when it is enough.
    """
    if all(axis in layer.given for axis in layer.axes):
        return _given(layer, sets)
    best: Solution | None = None
    for axis in layer.axes:
        if axis in layer.given:
            continue
        for known, index in _other_dimension(layer, axis, sets):
            found = _along(layer, axis, known, index, sets, rules)
            if best is None or (found.doubt is None, found.certainty * found.cosine) > (
                best.doubt is None,
                best.certainty * best.cosine,
            ):
                best = found
        if best is not None and best.doubt is None:
            break
    return best if best is None or best.doubt is not None else _added(best, layer, sets)


def _other_dimension(layer: Layer, axis: int, sets: KeptSets) -> list[tuple[KeptSet | None, Tensor | None]]:
    """What the channels along the other dimension may be."""
    other = 1 - axis
    if other not in layer.axes:
        return [(None, None)]
    if other in layer.given:
        return [(set_of_given(layer, other, sets), layer.given[other])]
    return list(sets.fitting(layer.before.shape[other], layer.after.shape[other], blocks=other == 1))


def _along(
    layer: Layer, axis: int, known: KeptSet | None, index: Tensor | None, sets: KeptSets, rules: Alignment
) -> Solution:
    """The channels along one dimension, those along the other being known."""
    wide, narrow = channels_of(layer.before, axis, index), channels_of(layer.after, axis)
    candidates = sets.fitting(wide.count, narrow.count, blocks=axis == 1)
    quick = _quick(wide, narrow, candidates)
    if quick is not None:
        one, kept, cosine = quick
        return _solution(axis, (one, kept), (known, index), one.certainty, cosine, f"as in {one.origin}")
    found = match(wide, narrow, rules.margin)
    shared = agreeing(found, candidates)
    if shared is None and found.certainty < rules.certainty:
        shared = _likely(wide, narrow, candidates)
    if shared is not None:
        kept = next(kept for one, kept in candidates if one is shared)
        cosine = median_cosine(paired_cosines(wide, narrow, kept))
        certainty = max(shared.certainty, found.certainty)
        return _solution(axis, (shared, kept), (known, index), certainty, cosine, f"as in {shared.origin}")
    # Half is enough to begin with: the layers that share the channels may settle the rest.
    doubt = None if found.certainty >= rules.certainty / 2 else uncertain(found.certainty, found.cosine, rules)
    mine = _new(layer, axis, found.kept, found.certainty, found.sure)
    return _solution(
        axis, (mine, found.kept), (known, index), found.certainty, found.cosine, "found by matching", doubt
    )


def _likely(wide: Channels, narrow: Channels, candidates: list[tuple[KeptSet, Tensor]]) -> KeptSet | None:
    """The known set that fits a layer too narrow or too noisy to tell its channels itself: far better than chance."""
    middles = [(median_cosine(paired_cosines(wide, narrow, kept)), one) for one, kept in candidates]
    best = max(middles, key=lambda pair: pair[0], default=None)
    return best[1] if best is not None and best[0] > chance_cosine(wide.width, 1) else None


def uncertain(certainty: float, cosine: float, rules: Alignment) -> str:
    """Why a layer whose matches are not certain enough is not compared."""
    return (
        f"its kept channels could not be told: {certainty:.0%} of the matches are certain, {rules.certainty:.0%} are "
        f"needed; median cosine {cosine:.2f}"
    )


def _quick(
    wide: Channels, narrow: Channels, candidates: list[tuple[KeptSet, Tensor]]
) -> tuple[KeptSet, Tensor, float] | None:
    """A known set with which every single channel fits, so that no other need be looked for."""
    best: tuple[float, KeptSet, Tensor, float] | None = None
    for one, kept in candidates:
        cosines = paired_cosines(wide, narrow, kept)
        alive = cosines[cosines != 0]
        if not len(alive):
            continue
        least, middle = float(alive.min()), median_cosine(cosines)
        fits = least > max(_CLOSE, chance_cosine(wide.width, wide.count), middle - _SPREAD)
        if fits and (best is None or least > best[0]):
            best = (least, one, kept, middle)
    return None if best is None else best[1:]


def _solution(
    axis: int,
    mine: tuple[KeptSet | None, Tensor],
    other: tuple[KeptSet | None, Tensor | None],
    certainty: float,
    cosine: float,
    how: str,
    doubt: str | None = None,
) -> Solution:
    along, across = mine if axis == 0 else other, other if axis == 0 else mine
    return Solution(
        kept=(along[1], across[1]),
        sets=(along[0], across[0]),
        certainty=certainty if other[0] is None else min(certainty, other[0].certainty),
        cosine=cosine,
        in_order=all(bool((index[1:] > index[:-1]).all()) for index in (mine[1], other[1]) if index is not None),
        how=how,
        doubt=doubt,
    )


def _added(found: Solution, layer: Layer, sets: KeptSets) -> Solution:
    """The solution with its new set known to others, and the sets it uses marked as used here."""
    both = [None if one is None else sets.add(one) for one in found.sets]
    for one in both:
        if one is not None:
            one.used = layer.position
    return msgspec.structs.replace(found, sets=(both[0], both[1]))


def _given(layer: Layer, sets: KeptSets) -> Solution:
    """The user's channels, held against the values: what fits no better than chance is a mistake."""
    axis = layer.axes[0]
    other = layer.given.get(1 - axis) if len(layer.axes) > 1 else None
    wide, narrow = channels_of(layer.before, axis, other), channels_of(layer.after, axis)
    cosine = median_cosine(paired_cosines(wide, narrow, layer.given[axis]))
    doubt = None
    if cosine <= chance_cosine(wide.width, 1):
        doubt = f"the kept channels that were given do not fit its values: their median cosine is {cosine:.2f}"
    marks: list[KeptSet | None] = [
        set_of_given(layer, axis, sets) if axis in layer.given and doubt is None else None for axis in (0, 1)
    ]
    mine: tuple[KeptSet | None, Tensor] = (marks[axis], layer.given[axis])
    return _solution(axis, mine, (marks[1 - axis], other), 1.0, cosine, "given", doubt)


def set_of_given(layer: Layer, axis: int, sets: KeptSets) -> KeptSet:
    """The set of the channels that the user gave for one dimension, made known to the others."""
    index = layer.given[axis]
    return sets.add(_new(layer, axis, index, 1.0, torch.ones(len(index), dtype=torch.bool)))


def _new(layer: Layer, axis: int, index: Tensor, certainty: float, sure: Tensor) -> KeptSet:
    return KeptSet(
        size=layer.before.shape[axis],
        kept=index,
        sure=sure,
        origin=layer.before.name,
        certainty=certainty,
        used=layer.position,
    )


def median_cosine(cosines: Tensor) -> float:
    """The median over the channels that are not all zeros; zero when all are."""
    alive = cosines[cosines != 0]
    return float(alive.median()) if len(alive) else 0.0
