"""Damage by depth and role: a column for each block of the network, a row for each part that blocks have."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from shrinkscope.analysis import Comparison, LayerRecord
from shrinkscope.analysis.group import GroupRecord, merged
from shrinkscope.analysis.place import Place, place_of, without_weight
from shrinkscope.report.format import counted, number, percent, printable
from shrinkscope.report.sheet import Cell, Column, Sheet, value, words

SHADES = 16  # colours of the style sheet, --heat-0 for the least damage to --heat-15 for the most
_DECADES = 6.0  # of damage below the largest; what is smaller still has the first shade
_MOST_NUMBERS = 12  # columns up to which there is room for numbers in the cells
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_MOST_DENSE, _MOST_TICKS = 42, 21  # columns as wide as their numbers; labels beside each other over narrower ones


class HeatCell(msgspec.Struct, frozen=True):
    """One cell.

    Attributes:
        style: Its CSS class: ``heat-0`` to ``heat-15``, ``unchanged``, ``undefined`` or ``nothing``.
        text: Its number, or empty where there is no tensor.
        told: All that is known of it, in words.
        name: What it is called where it has no row and column.
    """

    style: str
    text: str
    told: str
    name: str = ""


class HeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Relative AP2 of every part of every block, on a logarithmic scale of colour.

    Attributes:
        families: Name → number of columns, of neighbouring blocks that share all of their name but the number.
        blocks: Headings of the columns: full name, and what there is room for.
        parts: Name of a part → its cells, one a block.
        same: Names of parts that did not change in any block; they have no row.
        outside: Tensors outside of the numbered blocks.
        scale: Least and largest damage that has a colour of its own.
        table: The same as a table of numbers.
    """

    families: list[tuple[str, int]]
    blocks: list[tuple[str, str]]
    parts: list[tuple[str, list[HeatCell]]]
    same: list[str]
    outside: list[HeatCell]
    scale: tuple[str, str]
    table: Sheet

    @property
    def size(self) -> str:
        """CSS class by how much room a column has."""
        if len(self.blocks) <= _MOST_NUMBERS:
            return "numbers"
        return "dense" if len(self.blocks) <= _MOST_DENSE else "densest"

    @property
    def shades(self) -> range:
        """The colours of the scale."""
        return range(SHADES)


def heat_map(comparison: Comparison) -> HeatMap | None:
    """Arrange a comparison by depth and role.

    Args:
        comparison: The comparison.

    Returns:
        The map; None when nothing changed, or there is but one block or part.
    """
    placed = [(place_of(row.layer), row) for row in comparison.rows if row.measurable]
    numbered = [pair for pair in placed if pair[0].numbered]
    inside = numbered or placed  # a network without numbered blocks: its modules are the blocks
    groups = _merged(inside)
    outside = (
        []
        if inside is placed
        else [(row.layer, merged(row.layer, [row])) for place, row in placed if not place.numbered]
    )
    changes = [group.relative_ap2 for group in (*groups.values(), *dict(outside).values()) if group.relative_ap2]
    blocks = list(dict.fromkeys(place.block for place, _ in inside))
    if not changes or len(groups) < 2:
        return None
    low, high = _limits(changes)
    parts = list(dict.fromkeys(place.part for place, _ in inside))
    cells = {key: _cell(f"{key[0]} · {key[1]}", group, low, high) for key, group in groups.items()}
    touched = {part for (_, part), group in groups.items() if group.changed}
    return HeatMap(
        families=_families(inside, blocks),
        blocks=_headings(inside, blocks),
        parts=[
            (printable(part), [cells.get((block, part)) or _nothing(block, part) for block in blocks])
            for part in parts
            if part in touched
        ],
        same=[printable(part) for part in parts if part not in touched],
        outside=[_cell(without_weight(name), group, low, high) for name, group in outside],
        scale=(("≤ " if low > min(changes) else "") + number(low, 2), number(high, 2)),
        table=_table(blocks, parts, groups),
    )


def shade(damage: float, low: float, high: float) -> int:
    """Pick the colour of a damage on the logarithmic scale.

    >>> shade(1e-4, 1e-4, 1.0), shade(1e-2, 1e-4, 1.0), shade(1.0, 1e-4, 1.0), shade(1e-9, 1e-4, 1.0)
    (0, 8, 15, 0)
    """
    share = (math.log10(damage) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return min(SHADES - 1, max(0, math.floor(SHADES * share)))


def _merged(placed: Iterable[tuple[Place, LayerRecord]]) -> dict[tuple[str, str], GroupRecord]:
    """(block, part) → its tensors as one; only experts have several."""
    members: dict[tuple[str, str], list[LayerRecord]] = {}
    for place, row in placed:
        members.setdefault((place.block, place.part), []).append(row)
    return {key: merged(" ".join(key), rows) for key, rows in members.items()}


def _limits(changes: Sequence[float]) -> tuple[float, float]:
    high = max(changes)
    low = max(min(changes), high * 10.0**-_DECADES)
    # One value alone, or values that hardly differ, must not span the whole scale.
    return (low, high) if high > 2.0 * low else (high / 10.0, high)


def _families(inside: Iterable[tuple[Place, LayerRecord]], blocks: Sequence[str]) -> list[tuple[str, int]]:
    family = {place.block: place.family for place, _ in inside}
    return [(printable(name), len(list(members))) for name, members in groupby(blocks, key=family.__getitem__)]


def _headings(inside: Iterable[tuple[Place, LayerRecord]], blocks: Sequence[str]) -> list[tuple[str, str]]:
    index = {place.block: place.index for place, _ in inside}
    step = next((tick for tick in _TICKS if len(blocks) <= tick * _MOST_TICKS), _TICKS[-1])
    step = 1 if len(blocks) <= _MOST_DENSE else step
    kept = (index[block] if position % step == 0 else "" for position, block in enumerate(blocks))
    return [(printable(block), printable(label)) for block, label in zip(blocks, kept, strict=True)]


def _cell(name: str, group: GroupRecord, low: float, high: float) -> HeatCell:
    damage = group.relative_ap2
    if group.changed == 0:
        style, text = "unchanged", "0"
    elif damage is None:
        style, text = "undefined", number(None)
    else:
        style, text = f"heat-{shade(damage, low, high)}", number(damage, 2)
    tensors = f", {counted(group.measured, 'tensor')}" if group.measured > 1 else ""
    told = (
        f"{name}: relative AP2 {number(damage)}, zeros {percent(group.sparsity_dense)} → {percent(group.sparsity)}, "
        f"{counted(group.parameters, 'weight')}{tensors}"
    )
    return HeatCell(style, text, printable(told), printable(name))


def _nothing(block: str, part: str) -> HeatCell:
    return HeatCell("nothing", "", printable(f"{block} has no {part}"))


def _table(blocks: Sequence[str], parts: Sequence[str], groups: dict[tuple[str, str], GroupRecord]) -> Sheet:
    def cell(block: str, part: str) -> Cell:
        group = groups.get((block, part))
        return Cell("", None, "no such tensor") if group is None else value(group.relative_ap2)

    return Sheet(
        title="Relative AP2 by block and part (of ‖ω‖²)",
        columns=(Column(title="block", numeric=False), *(Column(title=printable(part)) for part in parts)),
        rows=tuple((words(block), *(cell(block, part) for part in parts)) for block in blocks),
    )
