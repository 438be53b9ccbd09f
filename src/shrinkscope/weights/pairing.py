"""Pairing two networks tensor by tensor, with every mismatch explained."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from shrinkscope.errors import PairingError
from shrinkscope.weights.mapping.comparable import comparable
from shrinkscope.weights.mapping.rules import Rules
from shrinkscope.weights.mapping.step import Step
from shrinkscope.weights.selection import LayerSelection
from shrinkscope.weights.view import TensorView, Weights

MismatchKind = Literal["missing", "extra", "shape", "dtype", "tied", "unreadable", "mapped", "refused"]


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """A difference between the two networks that is not a difference of values.

    Attributes:
        layer: Name of the tensor.
        kind: ``missing`` from the compressed network, ``extra`` in it, another ``shape``, another ``dtype`` (compared
            all the same), ``tied`` in one of the networks only (compared all the same), ``unreadable`` in one of them,
            ``mapped`` to the other's form before it was compared (another name, a product, removed channels), or
            ``refused``: recognised as the other's in another form, and left alone.
        explanation: One sentence for people.
    """

    layer: str
    kind: MismatchKind
    explanation: str


class TensorPair(msgspec.Struct, frozen=True, kw_only=True):
    """The same tensor of the dense and of the compressed network, of one shape."""

    dense: TensorView
    compressed: TensorView


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """What can be compared, and what does not fit."""

    pairs: tuple[TensorPair, ...]
    mismatches: tuple[Mismatch, ...]


def pair(dense: Weights, compressed: Weights, selection: LayerSelection, rules: Rules | None = None) -> Pairing:
    """Pair the selected tensors of two networks by name, after the compressed one is brought to the dense one's form.

    Args:
        dense: Weights before compression.
        compressed: Weights after compression.
        selection: Which tensors take part, by the dense network's names.
        rules: What the user knows of names, fused tensors, factors and kept channels; the rest is found.

    Returns:
        Pairs in the order of the dense network, and the mismatches, among them every decision of the mapping.

    Raises:
        PairingError: If the two have no name in common, the selection matches nothing, or the mapping is in doubt.
    """
    step = comparable(dense, compressed, rules)
    plain = _pair(step.dense, step.compressed, selection, step.reasons)
    return msgspec.structs.replace(plain, mismatches=plain.mismatches + _decisions(step, selection))


def _decisions(step: Step, selection: LayerSelection) -> tuple[Mismatch, ...]:
    """The mapping's notes about tensors that are selected, or about the network as a whole."""
    found = []
    for note in step.notes:
        views = [step.dense[name] for name in note.layers if name in step.dense]
        if not views or any(selection.matches(view.name, view.role) for view in views):
            kind: MismatchKind = "refused" if note.kind == "refused" else "mapped"
            found.append(Mismatch(layer=note.layer, kind=kind, explanation=note.text))
    return tuple(found)


def _pair(dense: Weights, compressed: Weights, selection: LayerSelection, reasons: Mapping[str, str]) -> Pairing:
    common = [name for name in dense if _find(compressed, name) is not None]
    if not common:
        unreadable = list(dense.unreadable | compressed.unreadable)
        if unreadable:
            raise PairingError(f"nothing can be compared: {_unreadable(unreadable[0], dense, compressed).explanation}")
        raise PairingError(
            f"no tensor has the same name in {dense.origin} ({_examples(dense)}) and in {compressed.origin} "
            f"({_examples(compressed)}); say how the names match with --rename 'PATTERN=REPLACEMENT'"
        )
    names = [name for name in dense if selection.matches(name, dense[name].role)]
    extra = [name for name in compressed if selection.matches(name, compressed[name].role) and not _known(dense, name)]
    if not names and not extra:
        raise PairingError(f"the selection of layers matches no tensor; the names are like {_examples(dense)}")
    pairs: list[TensorPair] = []
    mismatches: list[Mismatch] = []
    for name in names:
        other = _find(compressed, name)
        if other is None:
            if name not in compressed.unreadable:
                mismatches.append(_missing(name, dense, compressed))
            continue
        mismatches.extend(_differences(name, dense, compressed, other, reasons.get(name)))
        if other.shape == dense[name].shape:
            pairs.append(TensorPair(dense=dense[name], compressed=other))
    for name in dense.tied:
        first = dense[dense.tied[name]]
        if name in compressed and selection.matches(name, first.role):
            pairs.append(TensorPair(dense=msgspec.structs.replace(first, name=name), compressed=compressed[name]))
            text = f"{name} shares the values of {first.name} in {dense.origin} only: compared with them"
            mismatches.append(Mismatch(layer=name, kind="tied", explanation=text))
    mismatches.extend(_extra(name, dense, compressed) for name in extra if name not in dense.unreadable)
    # The role of a tensor that cannot be read is not known, so only globs select it.
    by_name = msgspec.structs.replace(selection, roles=None)
    unreadable = [name for name in dense.unreadable | compressed.unreadable if by_name.matches(name, "other")]
    mismatches.extend(_unreadable(name, dense, compressed) for name in unreadable)
    return Pairing(pairs=tuple(pairs), mismatches=tuple(mismatches))


def _find(weights: Weights, name: str) -> TensorView | None:
    listed = name if name in weights else weights.tied.get(name)
    return None if listed is None else weights[listed]


def _known(weights: Weights, name: str) -> bool:
    return name in weights or name in weights.tied


def _missing(name: str, dense: Weights, compressed: Weights) -> Mismatch:
    text = f"{name} {_shape(dense[name])} is in {dense.origin} only; {compressed.origin} has no tensor of that name"
    return Mismatch(layer=name, kind="missing", explanation=text)


def _extra(name: str, dense: Weights, compressed: Weights) -> Mismatch:
    text = (
        f"{name} {_shape(compressed[name])} is in {compressed.origin} only; {dense.origin} has no tensor of that name"
    )
    return Mismatch(layer=name, kind="extra", explanation=text)


def _unreadable(name: str, dense: Weights, compressed: Weights) -> Mismatch:
    found = [f"{w.origin} ({w.unreadable[name]})" for w in (dense, compressed) if name in w.unreadable]
    return Mismatch(layer=name, kind="unreadable", explanation=f"{name} cannot be read from {' nor from '.join(found)}")


def _differences(
    name: str, dense: Weights, compressed: Weights, other: TensorView, reason: str | None
) -> list[Mismatch]:
    before = dense[name]
    found: list[Mismatch] = []
    if before.shape != other.shape:
        text = f"{name} is {_shape(before)} before and {_shape(other)} after: not compared value by value"
        text += f"; {reason}" if reason is not None else ""
        found.append(Mismatch(layer=name, kind="shape", explanation=text))
    elif before.type != other.type:
        text = f"{name} is {before.type} before and {other.type} after: compared as numbers, in float64"
        found.append(Mismatch(layer=name, kind="dtype", explanation=text))
    if name in compressed.tied and name not in dense.tied:
        text = f"{name} shares the values of {compressed.tied[name]} in {compressed.origin} only"
        found.append(Mismatch(layer=name, kind="tied", explanation=text))
    return found


def _examples(weights: Weights) -> str:
    names = list(weights)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _shape(view: TensorView) -> str:
    return "×".join(map(str, view.shape)) or "scalar"
