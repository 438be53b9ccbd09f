"""Structured pruning: layers of other shapes put back into the dense shapes, with zeros for removed channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shrinkscope.weights.mapping.channels import in_place
from shrinkscope.weights.mapping.kept import KeptSet, KeptSets, given_sets
from shrinkscope.weights.mapping.lazy import replaced
from shrinkscope.weights.mapping.rules import Alignment
from shrinkscope.weights.mapping.search import Layer, Solution, search, set_of_given
from shrinkscope.weights.mapping.settle import settle
from shrinkscope.weights.mapping.step import Note, Step, examples
from shrinkscope.weights.mapping.vectors import choose_set, modules
from shrinkscope.weights.view import TensorView, Weights

if TYPE_CHECKING:
    from torch import Tensor


def align(dense: Weights, compressed: Weights, kept: Mapping[str, Sequence[int]], rules: Alignment) -> Step:
    """The compressed network in the dense shapes, where whole channels were removed.

    Channels are found layer by layer: where the inputs are whole, or are those of a layer already solved, the outputs
    are matched by cosine, and the other way round, until nothing more can be solved. Layers that share channels (over
    a residual sum, through a depthwise convolution, behind a flattening) find each other's sets by trying them.

    Args:
        dense: The network before.
        compressed: The network after, under the dense one's names.
        kept: What the user knows: layer → kept indices.
        rules: When a match is certain, and when it is enough.

    Returns:
        The networks; a note for each layer put back, a reason for each that was not.

    Raises:
        PairingError: If given indices do not belong to the networks.
    """
    given = given_sets(kept, dense, compressed)
    cut = [name for name in dense if name in compressed and dense[name].shape != compressed[name].shape]
    reasons = {name: reason for name in cut if (reason := _hopeless(dense[name], compressed[name])) is not None}
    narrow = [name for name in cut if name not in reasons]
    places = {name: position for position, name in enumerate(dense)}
    layers = {
        name: Layer(
            before=dense[name],
            after=compressed[name],
            position=places[name],
            given={axis: index for (layer, axis), index in given.items() if layer == name},
        )
        for name in narrow
        if len(dense[name].shape) > 1
    }
    sets = KeptSets()
    _announce(given, layers, sets)
    solved, doubts = _solve(layers, sets, rules)
    solved, more = settle(layers, solved, sets, rules)
    doubts |= more
    views = {name: in_place(compressed[name], dense[name], found.kept) for name, found in solved.items()}
    notes = [_note(name, found, dense[name], compressed[name]) for name, found in solved.items()]
    vectors = [name for name in narrow if len(dense[name].shape) == 1]
    placed, note = _vectors(vectors, dense, compressed, given, sets, solved, places)
    reasons |= {name: _unsolved(doubts.get(name)) for name in layers if name not in solved}
    reasons |= {name: "no layer with these kept channels was found" for name in vectors if name not in placed}
    views |= placed
    after = replaced(compressed, [views.get(name, view) for name, view in compressed.items()])
    return Step(dense=dense, compressed=after if views else compressed, notes=(*notes, *note), reasons=reasons)


def _hopeless(before: TensorView, after: TensorView) -> str | None:
    if len(before.shape) != len(after.shape):
        return "the numbers of dimensions differ"
    if before.shape[2:] != after.shape[2:]:
        return "sizes beyond the channels differ"
    if any(new > old or new == 0 for new, old in zip(after.shape[:2], before.shape[:2], strict=True)):
        return "it has grown, or nothing is left, so that it is no part of the layer before"
    return None


def _announce(given: Mapping[tuple[str, int], Tensor], layers: Mapping[str, Layer], sets: KeptSets) -> None:
    """Make the given sets known before any layer is solved; whether they fit is seen there."""
    for name, axis in given:
        if name in layers:
            set_of_given(layers[name], axis, sets)


def _solve(layers: Mapping[str, Layer], sets: KeptSets, rules: Alignment) -> tuple[dict[str, Solution], dict[str, str]]:
    solved: dict[str, Solution] = {}
    doubts: dict[str, str] = {}
    known = -1
    while known != len(solved):
        known = len(solved)
        for name, layer in layers.items():
            found = None if name in solved else search(layer, sets, rules)
            if found is not None and found.doubt is None:
                solved[name] = found
                doubts.pop(name, None)
            elif found is not None and found.doubt is not None:
                doubts[name] = found.doubt
    return solved, doubts


def _vectors(
    names: Sequence[str],
    dense: Weights,
    compressed: Weights,
    given: Mapping[tuple[str, int], Tensor],
    sets: KeptSets,
    solved: Mapping[str, Solution],
    places: Mapping[str, int],
) -> tuple[dict[str, TensorView], list[Note]]:
    placed: dict[str, TensorView] = {}
    for module, members in modules(dict.fromkeys(names)).items():
        for size, left in dict.fromkeys((dense[name].shape[0], compressed[name].shape[0]) for name in members):
            group = [n for n in members if (dense[n].shape[0], compressed[n].shape[0]) == (size, left)]
            candidates = sets.fitting(size, left, blocks=False)
            owner = _owner(module, group[0], candidates, solved, places)
            pairs = [(dense[name], compressed[name]) for name in group]
            chosen = (
                owner if owner is not None and f"{module}.weight" in solved else choose_set(pairs, candidates, owner)
            )
            for name in group:
                index = given.get((name, 0), None if chosen is None else chosen.kept)
                if index is not None:
                    placed[name] = in_place(compressed[name], dense[name], (index, None))
    if not placed:
        return placed, []
    listed = list(placed)
    text = f"{len(placed)} biases and normalisations take the kept channels of their layers: {examples(listed)}"
    return placed, [Note(layer=listed[0], kind="channels", text=text, layers=tuple(listed))]


def _owner(
    module: str,
    name: str,
    candidates: Sequence[tuple[KeptSet, Tensor]],
    solved: Mapping[str, Solution],
    places: Mapping[str, int],
) -> KeptSet | None:
    """The set of the layer of the same module, or of the last layer before it in the network that has one that fits."""
    fitting = {id(one) for one, _ in candidates}
    before = [layer for layer in solved if places[layer] < places[name]]
    own = [f"{module}.weight"] if f"{module}.weight" in solved else []
    for layer in [*own, *sorted(before, key=lambda layer: -places[layer])]:
        for one in solved[layer].sets:
            if one is not None and id(one) in fitting:
                return one
    return None


def _unsolved(doubt: str | None) -> str:
    return doubt or (
        "channels were removed along two dimensions, and neither side's are known from another layer; give them with "
        "--kept"
    )


def _note(name: str, found: Solution, before: TensorView, after: TensorView) -> Note:
    cut = [
        f"{after.shape[axis]} of {before.shape[axis]} channels of dimension {axis}"
        for axis in (0, 1)
        if found.kept[axis] is not None
    ]
    order = "in their old order" if found.in_order else "in another order"
    text = (
        f"{name} keeps {' and '.join(cut)}, {order}: {found.how}, certainty {found.certainty:.0%}, median cosine "
        f"{found.cosine:.3f}; removed channels count as zeros"
    )
    return Note(layer=name, kind="channels", text=text, layers=(name,))
