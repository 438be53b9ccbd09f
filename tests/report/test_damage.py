import math
from typing import Any

import pytest

from shrinkscope.analysis import Comparison, compare
from shrinkscope.errors import SelectionError
from shrinkscope.report.damage import layer_sheet
from shrinkscope.report.sheet import Cell, Sheet


def column(sheet: Sheet, title: str) -> list[Cell]:
    index = [column.title for column in sheet.columns].index(title)
    return [row[index] for row in sheet.rows]


def test_the_most_damaged_layers_come_first(comparison: Comparison):
    table: Any = comparison.to_dataframe()
    table = table[table.measurable].sort_values("relative_ap2", ascending=False, kind="stable")
    sheet = layer_sheet(comparison)
    known = [value for value in table["relative_ap2"] if not math.isnan(value)]
    assert [cell.order for cell in column(sheet, "rel. AP2")] == [*known, None]
    assert column(sheet, "layer")[-1].text == "zero.weight"
    assert column(sheet, "rel. AP2")[-1].text == "n/a"


def test_any_numeric_column_can_be_sorted_by(comparison: Comparison):
    for name, title in {"ap3_gaussian": "AP3 Gauss", "sparsity": "zeros", "parameters": "weights"}.items():
        sheet = layer_sheet(comparison, sort=name)
        (index,) = [i for i, c in enumerate(sheet.columns) if c.title == title and c.stage in ("", "after")]
        orders: list[Any] = [row[index].order for row in sheet.rows if row[index].order is not None]
        assert orders == sorted(orders, reverse=True)
        assert sheet.columns[index].priority == 0  # what the table is sorted by is never left out


@pytest.mark.parametrize("name", ["relative_ap3", "layer", "shape"])
def test_sorting_by_what_is_no_number_names_the_columns(comparison: Comparison, name: str):
    with pytest.raises(SelectionError, match=f"cannot sort by '{name}'; the columns are parameters, .*ap3_student_t"):
        layer_sheet(comparison, sort=name)


def test_the_top_rows_say_how_many_there_are(comparison: Comparison):
    sheet = layer_sheet(comparison, top=2)
    assert len(sheet.rows) == 2
    assert "2 of 8 layers" in sheet.title
    assert "8 layers" in layer_sheet(comparison, top=100).title


def test_the_total_is_that_of_the_comparison(comparison: Comparison):
    sheet = layer_sheet(comparison)
    assert sheet.total is not None
    total = dict(zip([c.title for c in sheet.columns], sheet.total, strict=True))
    assert total["AP2"].order == comparison.total.ap2
    assert total["weights"].order == comparison.total.parameters
    assert total["AP3 t"].order == comparison.total.divergences["ap3_student_t"].value
    assert total["shape"].text == ""  # shapes have no sum
    # The weights before and after as one vector each.
    rows = [row for row in comparison.rows if row.measurable]
    norms = [math.fsum(getattr(row, field) for row in rows) for field in ("square_dense", "square_compressed")]
    cosine = math.fsum(row.product or 0.0 for row in rows) / math.sqrt(norms[0] * norms[1])
    assert total["cosine"].order == pytest.approx(cosine, rel=1e-14)


def test_small_cosines_come_first_since_they_are_the_damage(comparison: Comparison):
    orders: list[Any] = [cell.order for cell in column(layer_sheet(comparison, sort="cosine"), "cosine")]
    known = [order for order in orders if order is not None]
    assert known == sorted(known)
    assert orders[len(known) :] == [None] * (len(orders) - len(known))


def test_a_rare_column_is_shown_when_the_table_is_sorted_by_it(comparison: Comparison):
    def stages(sheet: Sheet) -> list[str]:
        return [column.stage for column in sheet.columns if column.title == "zeros"]

    assert stages(layer_sheet(comparison)) == ["before", "after"]
    sheet = layer_sheet(comparison, sort="zeros_gained")
    assert stages(sheet) == ["before", "after", "gained"]
    gained = [row.zeros_gained for row in comparison.rows if row.measurable]
    index = [column.stage for column in sheet.columns].index("gained")
    assert [row[index].order for row in sheet.rows] == sorted(gained, key=lambda count: -(count or 0))
    assert sheet.total is not None
    assert sheet.total[index].order == sum(count or 0 for count in gained)


def test_groups_have_a_table_like_that_of_the_layers(comparison: Comparison):
    grouped = comparison.grouped_by("role")
    sheet = layer_sheet(grouped, top=3)
    assert sheet.title == "Damage by role (3 of 8 roles)"
    assert sheet.columns[0].title == "role"
    assert {"tensors", "SNR"} <= {column.title for column in sheet.columns}
    assert "shape" not in {column.title for column in sheet.columns}
    orders: list[Any] = [cell.order for cell in column(sheet, "rel. AP2")]
    assert orders == sorted((row.relative_ap2 or 0.0 for row in grouped.rows), reverse=True)[:3]
    assert sheet.total == layer_sheet(grouped).total


def test_nothing_measured_is_an_empty_table():
    import torch

    steps = {"bn.num_batches_tracked": torch.tensor(1)}
    assert layer_sheet(compare(steps, steps)).rows == ()
