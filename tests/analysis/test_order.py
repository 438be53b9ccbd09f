"""The order of rows: the most damaged first, whatever the column means."""

import pytest

from shrinkscope.analysis.group import GroupRecord
from shrinkscope.analysis.order import require_column, worst_first
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.errors import SelectionError
from shrinkscope.quantity import Quantity


def layer(name: str, **numbers) -> LayerRecord:
    return LayerRecord(layer=name, role="linear", shape=(2, 2), dtype="float32", parameters=4, **numbers)


ROWS = [
    layer("unknown", measurable=False),
    layer("small", relative_ap2=0.1, snr_db=10.0, divergences={"ap3_x": Quantity(value=3.0, unit="nats")}),
    layer("large", relative_ap2=0.4, snr_db=4.0),
    layer("tied", relative_ap2=0.1, snr_db=10.0, divergences={"ap3_x": Quantity(value=9.0, unit="nats")}),
]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("relative_ap2", ["large", "small", "tied", "unknown"]),
        ("snr_db", ["large", "small", "tied", "unknown"]),
        ("ap3_x", ["tied", "small", "unknown", "large"]),
    ],
)
def test_the_worst_come_first_and_those_without_a_value_last(column, names):
    assert [row.layer for row in worst_first(ROWS, column)] == names


def test_groups_are_sorted_in_the_same_way():
    groups = [
        GroupRecord(group=name, layers=(), measured=1, parameters=1, cosine=c) for name, c in (("a", 1.0), ("b", 0.5))
    ]
    assert [group.group for group in worst_first(groups, "cosine")] == ["b", "a"]


@pytest.mark.parametrize("column", ["nonsense", "dtype", "measurable", "effective_rank"])
def test_a_column_without_numbers_is_refused(column):
    with pytest.raises(
        SelectionError, match=f"cannot sort by '{column}'; the columns are parameters, relative_ap2, snr"
    ):
        worst_first(ROWS, column)


def test_nothing_is_sorted_into_nothing():
    assert worst_first([], "relative_ap2") == ()


@pytest.mark.parametrize("grouped", [False, True])
def test_columns_that_there_may_be(grouped):
    for column in ("relative_ap2", "cosine", "distinct", "square_dense", "ap3_gaussian"):
        require_column(column, ["ap3_gaussian"], grouped=grouped)
    require_column("effective_rank", [], grouped=grouped, rank=True)
    with pytest.raises(
        SelectionError, match="cannot sort by 'effective_rank'; it is computed with --rank alone; the col"
    ):
        require_column("effective_rank", [], grouped=grouped)
    with pytest.raises(SelectionError, match="cannot sort by 'relativ_ap2'; did you mean 'relative_ap2'"):
        require_column("relativ_ap2", [], grouped=grouped)
    for column in ("shape", "layer", "role", "pattern", "measurable", "divergences", "ap3_gaussian"):
        with pytest.raises(SelectionError, match=f"cannot sort by '{column}'"):
            require_column(column, [], grouped=grouped)
