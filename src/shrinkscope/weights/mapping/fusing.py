"""Several tensors in one network, a single one in the other: the compressed one is brought to the dense one's form."""

import math
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from shrinkscope.errors import WeightsError
from shrinkscope.weights.mapping.lazy import Run, present, replaced, stacked, transposed
from shrinkscope.weights.mapping.names import fields, filled, wildcards
from shrinkscope.weights.mapping.rules import Fusion
from shrinkscope.weights.mapping.step import Note, Step
from shrinkscope.weights.view import TensorView, Weights

_CONV1D = ("c_attn",)  # GPT-2's own layer, which stores (in, out)


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor that is fused in one network, and its parts in the other."""

    rule: Fusion
    fused: TensorView
    parts: tuple[TensorView, ...]


def fuse(dense: Weights, compressed: Weights, rules: Sequence[Fusion], heads: int | None) -> Step:
    """The compressed network with tensors split or put together as the dense network has them.

    Args:
        dense: The network before.
        compressed: The network after, under the dense one's names.
        rules: Fusions to look for; the first that fits a tensor is taken.
        heads: Number of attention heads, where rows go head by head.

    Returns:
        The networks, one note for each rule that was used, and one for each tensor that was recognised and refused.
    """
    views = dict(compressed)
    used: dict[tuple[Fusion, str], list[tuple[str, str]]] = defaultdict(list)
    refused: dict[str, Note] = {}
    for rule in rules:
        for split, case in [*_cases(rule, compressed, dense, True), *_cases(rule, dense, compressed, False)]:
            gone = [case.fused.name] if split else [part.name for part in case.parts]
            if not all(name in views for name in gone):
                continue
            try:
                made = _split(case, heads) if split else [_put_together(case, heads)]
            except WeightsError as error:
                refused.setdefault(case.fused.name, Note(layer=case.fused.name, kind="refused", text=str(error)))
                continue
            refused.pop(case.fused.name, None)
            for name in gone:
                del views[name]
            views |= {view.name: view for view in made}
            used[rule, "split" if split else "fused"].append((case.fused.name, case.parts[0].name))
    notes = [_note(rule, kind, names) for (rule, kind), names in used.items()]
    step_to = replaced(compressed, views.values())
    return Step(dense=dense, compressed=step_to, notes=(*notes, *refused.values()))


def _cases(rule: Fusion, one: Weights, many: Weights, split: bool) -> list[tuple[bool, _Case]]:
    """Tensors that are fused in ``one`` and in parts in ``many``."""
    found = []
    for name, view in one.items():
        texts = None if present(many, name) else fields(rule.fused, name)
        if texts is None:
            continue
        names = _part_names(rule, texts, many)
        if names and all(part in many and part not in one for part in names):
            found.append((split, _Case(rule=rule, fused=view, parts=tuple(many[part] for part in names))))
    return found


def _part_names(rule: Fusion, texts: tuple[str, ...], many: Weights) -> list[str]:
    if not rule.numbered:
        return [filled(part, texts) for part in rule.parts]
    names: list[str] = []
    number = 0
    while True:
        block = [filled(part, _with_number(part, texts, number)) for part in rule.parts]
        if block[0] not in many:
            return names
        names += block
        number += 1


def _with_number(pattern: str, texts: tuple[str, ...], number: int) -> tuple[str, ...]:
    place = wildcards(pattern).index("#")
    return (*texts[:place], str(number), *texts[place:])


def _fused_shape(case: _Case) -> tuple[int, ...]:
    """The shape of the fused tensor as the parts' shapes have it, not transposed."""
    period = len(case.rule.parts)
    block = case.parts[:period]
    inner = {part.shape[1:] for part in case.parts}
    repeated = {tuple(part.shape for part in case.parts[at : at + period]) for at in range(0, len(case.parts), period)}
    if len(inner) != 1 or len(repeated) != 1 or not block[0].shape:
        shapes = ", ".join("×".join(map(str, part.shape)) or "scalar" for part in block)
        raise WeightsError(f"{case.fused.name} was not compared with its parts: their shapes ({shapes}) do not fit")
    shape = (sum(part.shape[0] for part in block), *block[0].shape[1:])
    return (len(case.parts) // period, *shape) if case.rule.numbered else shape


def _is_transposed(case: _Case, shape: tuple[int, ...]) -> bool:
    """Whether the fused tensor is stored with its last two dimensions exchanged.

    Raises:
        WeightsError: If neither way has the right shape.
    """
    plain = case.fused.shape == shape
    swapped = len(shape) >= 2 and case.fused.shape == (*shape[:-2], shape[-1], shape[-2])
    asked = case.rule.transposed
    if asked is None:
        asked = swapped and (not plain or any(f".{name}." in f".{case.fused.name}" for name in _CONV1D))
    if not (swapped if asked else plain):
        found, expected = ("×".join(map(str, one)) for one in (case.fused.shape, shape))
        raise WeightsError(
            f"{case.fused.name} is {found} and was not compared with {case.parts[0].name}, …: together they are "
            f"{expected}"
        )
    return asked


def _order(case: _Case, heads: int | None) -> list[tuple[int, int, int]]:
    """Part, first row and last row of the pieces in the order in which they lie in the fused tensor."""
    rows = [part.shape[0] for part in case.parts]
    if case.rule.layout == "rows":
        return [(index, 0, count) for index, count in enumerate(rows)]
    if heads is None:
        raise WeightsError(
            f"{case.fused.name} holds its rows head by head and was not compared with {case.parts[0].name}, …: the "
            "number of heads is not known; give it with --heads, or put config.json beside the weights"
        )
    if heads < 1 or rows[0] % heads:
        raise WeightsError(f"{case.fused.name}: {rows[0]} rows cannot be {heads} heads; check --heads")
    size = rows[0] // heads
    # With grouped queries, several heads of queries lie before the one head of keys and of values that they share.
    groups = rows[-1] // size
    if not groups or any(count % groups for count in rows) or rows[-1] % size:
        raise WeightsError(
            f"{case.fused.name}: heads of {size} rows do not divide the {rows[-1]} rows of {case.parts[-1].name}; "
            "check --heads"
        )
    steps = [count // groups for count in rows]
    return [(i, group * step, (group + 1) * step) for group in range(groups) for i, step in enumerate(steps)]


def _split(case: _Case, heads: int | None) -> list[TensorView]:
    """The fused tensor of the compressed network as the dense network's parts."""
    shape = _fused_shape(case)
    fused = transposed(case.fused) if _is_transposed(case, shape) else case.fused
    runs: list[list[Run]] = [[] for _ in case.parts]
    width, offset = _width(case), 0
    for index, first, last in _order(case, heads):
        count = (last - first) * width
        runs[index].append(Run(fused, offset, offset + count))
        offset += count
    return [stacked(part.name, part.shape, part.role, pieces) for part, pieces in zip(case.parts, runs, strict=True)]


def _put_together(case: _Case, heads: int | None) -> TensorView:
    """The compressed network's parts as the dense network's fused tensor."""
    shape = _fused_shape(case)
    swap, width = _is_transposed(case, shape), _width(case)
    runs = [Run(case.parts[index], a * width, b * width) for index, a, b in _order(case, heads)]
    view = stacked(case.fused.name, shape, case.fused.role, runs)
    return transposed(view) if swap else view


def _width(case: _Case) -> int:
    return math.prod(case.parts[0].shape[1:])


def _note(rule: Fusion, kind: str, names: list[tuple[str, str]]) -> Note:
    fused, first = names[0]
    parts = ", ".join(rule.parts)
    did = f"split into {parts}" if kind == "split" else f"compared with {parts} put together"
    count = f"{len(names)} tensors are" if len(names) > 1 else "one tensor is"
    text = f"{count} {rule.fused} in one network and {parts} in the other: {did}, for example {fused}"
    layer = first if kind == "split" else fused
    return Note(layer=layer, kind="split" if kind == "split" else "fused", text=text)
