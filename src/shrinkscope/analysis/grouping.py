"""The rows of a comparison merged into groups: modules, numbered blocks, parts that many blocks have, experts."""

import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from shrinkscope.analysis.group import TOTAL, GroupRecord, flat_group, merged
from shrinkscope.analysis.order import worst_first
from shrinkscope.analysis.place import place_of, without_weight
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.errors import SelectionError
from shrinkscope.files import json_text, save_table
from shrinkscope.weights.mapping import expert_group, mixture

if TYPE_CHECKING:
    import pandas as pd

    from shrinkscope.analysis.comparison import Comparison

GroupBy = Literal["layer", "block", "role", "expert", "mixture"]
GROUPINGS: tuple[GroupBy, ...] = get_args(GroupBy)


class Grouped(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison by groups.

    Attributes:
        by: What the groups are.
        rows: One record a group, in the order of the dense network.
        comparison: What was grouped.
    """

    by: GroupBy
    rows: tuple[GroupRecord, ...]
    comparison: "Comparison"

    def sorted_by(self, column: str) -> "Grouped":
        """The same groups and tensors, the most damaged first.

        Args:
            column: What to sort by, as ``worst_first`` does.

        Raises:
            SelectionError: If no row has numbers of that name.
        """
        rows = worst_first(self.rows, column)
        return Grouped(by=self.by, rows=rows, comparison=self.comparison.sorted_by(column))

    def to_dataframe(self, *, total: bool = False) -> "pd.DataFrame":
        """The groups as a pandas table; their tensors are counted in ``measured`` and not listed.

        Args:
            total: Adds a last row of all measured layers, and a column ``total`` that marks it.
        """
        import pandas as pd

        rows = [flat_group(row) for row in self.rows]
        if not total:
            return pd.DataFrame(rows)
        together = flat_group(merged(TOTAL, self.comparison.rows))
        return pd.DataFrame([*(row | {"total": False} for row in rows), together | {"total": True}])

    def to_json(self) -> str:
        """The whole comparison as JSON text, with the groups in ``groups``."""
        record = msgspec.to_builtins(self.comparison.record()) | {"gates": self.comparison.gates}
        return json_text(record | {"groups": {"by": self.by, "rows": self.rows}})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole to a .json file, or the groups and the total to a .csv or .parquet file, all or nothing.

        Args:
            path: The file; its suffix decides the format.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        save_table(path, self.to_json, lambda: self.to_dataframe(total=True))


def group_rows(rows: Iterable[LayerRecord], by: str) -> tuple[GroupRecord, ...]:
    """Merge rows that belong together: counts and sums add up, maxima are maxima, ratios are taken of the sums.

    Args:
        rows: Records of tensors.
        by: ``layer`` for the tensors of a module (weight and bias), ``block`` for the numbered units of the network,
            ``role`` for the same part of all blocks, ``expert`` for the same part of all experts of a block,
            ``mixture`` for all experts of a block.

    Returns:
        Groups in the order of their first tensors.

    Raises:
        SelectionError: If there is no such grouping.

    Source: derived here; tests/analysis/test_grouping.py compares with the concatenated tensors.
    """
    require_grouping(by)
    members: dict[str, list[LayerRecord]] = {}
    for row in rows:
        members.setdefault(group_key(row.layer, by), []).append(row)
    return tuple(merged(name, group) for name, group in members.items())


def require_grouping(by: str) -> None:
    """Check that there is such a grouping.

    Args:
        by: What somebody wrote.

    Raises:
        SelectionError: If there is none; the message names the one that may have been meant.
    """
    if by not in GROUPINGS:
        near = get_close_matches(by, GROUPINGS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SelectionError(f"cannot group by {by!r}; {hint}the groupings are {', '.join(GROUPINGS)}")


def group_key(name: str, by: str) -> str:
    """The group that a tensor belongs to.

    Args:
        name: The tensor's name.
        by: What the groups are.

    Returns:
        The group's name.

    >>> group_key("model.layers.3.mlp.up_proj.weight", "block"), group_key("model.layers.3.mlp.up_proj.weight", "role")
    ('model.layers.3', 'mlp.up_proj')
    """
    return _KEYS[by](name)


def _role(name: str) -> str:
    place = place_of(name)
    return place.part if place.numbered else without_weight(name)


_KEYS: dict[str, Callable[[str], str]] = {
    "layer": lambda name: name.rpartition(".")[0] or name,
    "block": lambda name: place_of(name).block,
    "role": _role,
    "expert": lambda name: without_weight(expert_group(name) or name),
    "mixture": lambda name: mixture(name) or without_weight(name),
}
