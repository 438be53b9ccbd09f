import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.report.sheet import Cell, Column, Sheet, fit, legend, narrowed, sort_rows, value, whole, words


def table(values: list[float | None], priorities: list[int] = [0, 2, 1]) -> Sheet:  # noqa: B006
    columns = tuple(Column(title=f"c{index}", priority=priority) for index, priority in enumerate(priorities))
    return Sheet(title="t", columns=columns, rows=tuple((value(v),) * len(columns) for v in values))


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))))
def test_sorting_puts_the_largest_first_and_the_unmeasured_last(values: list[float | None]):
    got = [row[0].order for row in sort_rows(table(values), 0).rows]
    known = sorted((v for v in values if v is not None), reverse=True)
    assert got == known + [None] * (len(values) - len(known))


def test_rows_that_tie_keep_their_order():
    rows = tuple((words(name), value(1.0)) for name in "abc")
    sheet = Sheet(title="t", columns=(Column(title="n"), Column(title="v")), rows=rows)
    assert [row[0].text for row in sort_rows(sheet, 1).rows] == ["a", "b", "c"]


def test_a_narrow_table_loses_its_least_important_columns_first():
    sheet = table([0.125])  # cells are five characters wide, with two between columns and two at the edges
    assert [column.title for column in fit([sheet], 23)[0].columns] == ["c0", "c1", "c2"]
    assert [column.title for column in fit([sheet], 22)[0].columns] == ["c0", "c2"]
    assert [column.title for column in fit([sheet], 3)[0].columns] == ["c0"]


def test_tables_side_by_side_keep_the_same_columns():
    narrow, wide = table([1.0]), table([0.000123])
    kept = [[column.title for column in sheet.columns] for sheet in fit([narrow, wide], 22)]
    assert kept[0] == kept[1]
    assert len(kept[0]) < 3


def test_the_total_loses_the_same_columns():
    sheet = Sheet(
        title="t",
        columns=(Column(title="a"), Column(title="b", priority=1)),
        rows=((words("x"), words("y")),),
        total=(words("sum"), words("long long total")),
    )
    (fitted,) = fit([sheet], 12)
    assert fitted.total is not None
    assert [cell.text for cell in fitted.total] == ["sum"]


def test_no_tables_fit_anywhere():
    assert fit([], 80) == []


def test_each_heading_is_explained_once():
    columns = [
        Column(title="AP2", stage="pruned", status="exact", meaning="first"),
        Column(title="AP2", stage="tuned", status="exact", meaning="second"),
        Column(title="name", numeric=False),
    ]
    assert [column.meaning for column in legend(columns)] == ["first"]


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_number_is_not_zero(missing: float | None):
    assert value(missing) == Cell("n/a", None)
    assert whole(None) == Cell("n/a", None)


def test_control_characters_in_a_name_are_shown():
    assert words("a\x1b[2Jb").text == "a\\x1b[2Jb"


def test_texts_are_cut_before_numbers():
    columns = (
        Column(title="layer", numeric=False),
        Column(title="compressed by", numeric=False),
        Column(title="KL", unit="nats"),
    )
    row = (words("features.8.conv.0.0.weight"), words("lowest L1 channels 50 % (layer 3 of 4)"), words("0.123 ± 0.012"))
    sheet = Sheet(title="", columns=columns, rows=(row,))
    cut = narrowed(sheet, 60)
    name, description, amount = (cell.text for cell in cut.rows[0])
    assert amount == "0.123 ± 0.012"
    assert name[1:] in "features.8.conv.0.0.weight"
    assert description[-1] == "…"
    assert description[:-1] in "lowest L1 channels 50 % (layer 3 of 4)"
    assert narrowed(sheet, 120) == sheet
    assert narrowed(sheet, 10).rows[0][2].text == "0.123 ± 0.012"
