"""Layers kept as a product of two: recognised by names and shapes, and presented as the product."""

from collections.abc import Sequence

import msgspec

from shrinkscope.weights.mapping.known import FACTOR_BIASES
from shrinkscope.weights.mapping.lazy import present, renamed, replaced
from shrinkscope.weights.mapping.names import fields, filled
from shrinkscope.weights.mapping.products import added, product
from shrinkscope.weights.mapping.rules import Factors
from shrinkscope.weights.mapping.step import Note, Step
from shrinkscope.weights.view import TensorView, Weights


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """The factors of one tensor."""

    rule: Factors
    left: TensorView
    right: TensorView
    diagonal: TensorView | None
    plain: TensorView
    flip: bool


def multiply(dense: Weights, compressed: Weights, rules: Sequence[Factors]) -> Step:
    """The networks with every factorised layer as its product, where the other network has it as one tensor.

    Args:
        dense: The network before.
        compressed: The network after, under the dense one's names.
        rules: Factorisations to look for; the first that fits is taken.

    Returns:
        The networks, a note for each layer, and a refusal where shapes leave open which way the factors are stored.
    """
    after, notes = _multiplied(compressed, dense, rules)
    before, more = _multiplied(dense, compressed, rules)
    return Step(dense=before, compressed=after, notes=(*notes, *more))


def _multiplied(factored: Weights, plain: Weights, rules: Sequence[Factors]) -> tuple[Weights, list[Note]]:
    views = dict(factored)
    notes: list[Note] = []
    for rule in rules:
        for name in list(views):
            found = _found(rule, name, views, plain)
            if found is None:
                continue
            if isinstance(found, Note):
                notes.append(found)
                continue
            notes.append(_replace(found, views, plain))
    made = {note.layer for note in notes if note.kind == "factors"}
    kept = [note for note in notes if note.kind == "factors" or note.layer not in made]
    return replaced(factored, views.values()) if made else factored, kept


def _found(rule: Factors, name: str, views: dict[str, TensorView], plain: Weights) -> _Found | Note | None:
    texts = fields(rule.left, name)
    if texts is None or present(plain, name):
        return None
    target = filled(rule.product, texts)
    right = views.get(filled(rule.right, texts))
    if right is None or target in views or target not in plain:
        return None
    left, whole = views[name], plain[target]
    diagonal = None if rule.diagonal is None else views.get(filled(rule.diagonal, texts))
    ways = _ways(left.shape, right.shape, whole.shape)
    if not ways or (diagonal is not None and diagonal.shape != _rank(left)):
        return None
    if len(ways) > 1:
        text = (
            f"{target} may be {left.name}·{right.name} or {left.name}·{right.name}ᵀ, the factors being square: neither "
            "was compared; multiply them before"
        )
        return Note(layer=target, kind="refused", text=text)
    return _Found(rule=rule, left=left, right=right, diagonal=diagonal, plain=whole, flip=ways[0])


def _rank(left: TensorView) -> tuple[int, ...]:
    return (left.shape[1],)


def _ways(left: tuple[int, ...], right: tuple[int, ...], whole: tuple[int, ...]) -> list[bool]:
    """Whether V may be stored plainly (False), and whether transposed (True), for the product to have the shape."""
    if len(left) < 2 or len(whole) < 2 or any(size != 1 for size in left[2:]) or left[0] != whole[0]:
        return []
    rank = left[1]
    ways = [False] if right == (rank, *whole[1:]) else []
    if len(left) == len(right) == len(whole) == 2 and right == (whole[1], rank):
        ways.append(True)
    return ways


def _replace(found: _Found, views: dict[str, TensorView], plain: Weights) -> Note:
    """Put the product, and the layer's bias, in the factors' place."""
    whole = found.plain
    view = product(
        whole.name, whole.shape, whole.role, found.left, found.right, diagonal=found.diagonal, flip=found.flip
    )
    views[whole.name] = view
    for used in (found.left, found.right, found.diagonal):
        if used is not None:
            del views[used.name]
    _move_bias(found, views, plain)
    names = [found.left.name, *([found.diagonal.name] if found.diagonal is not None else []), found.right.name]
    text = (
        f"{whole.name} is the product of {' and '.join(names)}, of rank {found.left.shape[1]}: {view.stored} numbers "
        f"stored instead of {whole.parameters}"
    )
    return Note(layer=whole.name, kind="factors", text=text, layers=(whole.name,))


def _move_bias(found: _Found, views: dict[str, TensorView], plain: Weights) -> None:
    left = found.left.name.removesuffix(".weight") + ".bias"
    inner = views.get(found.right.name.removesuffix(".weight") + ".bias")
    for pattern, target in FACTOR_BIASES:
        texts = fields(pattern, left)
        name = None if texts is None else filled(target, texts)
        if name is None or left not in views or name in views or name not in plain:
            continue
        view = renamed(views.pop(left), name)
        if inner is not None:
            # W₁(W₀x + b₀) + b₁: the first layer's bias goes through the second one.
            del views[inner.name]
            through = product(name, view.shape, view.role, found.left, inner)
            # The second layer's numbers are already counted for the weight.
            change = msgspec.structs.replace(through, stored=inner.parameters)
            view = added(view, change)
        views[name] = view
        return
