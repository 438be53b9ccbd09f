import math
from typing import Any

import pytest
from msgspec.structs import replace

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.analysis.predictive import Predictive
from shrinkscope.errors import SelectionError
from shrinkscope.report.compared import (
    layer_sheet,
    not_compared,
    obstacles,
    performance_sheet,
    predictive_sheet,
    verdict,
)
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
    assert total["cosine"].text == ""  # angles have no sum


def test_everything_that_was_not_compared_is_named_with_its_reason(comparison: Comparison):
    text = "\n".join(not_compared(comparison))
    for name in ("gone.weight", "new.weight", "broken.weight", "bn.steps", "zero.weight"):
        assert name in text
    assert "4 of 4 values are NaN or infinite" in text
    assert len(column(layer_sheet(comparison), "layer")) + 2 == len(comparison.rows)


def test_a_reason_that_many_layers_share_is_given_once(comparison: Comparison):
    (steps,) = [row for row in comparison.rows if row.layer == "bn.steps"]
    many = tuple(replace(steps, layer=f"bn{index}.steps") for index in range(7))
    (sentence,) = not_compared(replace(comparison, rows=many, unpaired=()))
    assert sentence.startswith("bn0.steps, bn1.steps, bn2.steps and 4 more: ")


def test_the_verdict_is_one_sentence(comparison: Comparison):
    assert "\n" not in verdict(comparison)
    assert "compared tensors changed" in verdict(comparison)


def test_performance_has_a_row_for_each_split_and_measure(explanation: Explanation):
    sheet = performance_sheet(explanation)
    accuracy = explanation.performance["test"]["accuracy"]
    assert [cell.text for cell in column(sheet, "measure")] == ["loss", "accuracy"]
    assert column(sheet, "before")[1].order == accuracy.dense == 1.0
    assert column(sheet, "after")[1].order == accuracy.compressed
    assert column(sheet, "change")[1].order == accuracy.difference
    assert " ± " in column(sheet, "change")[1].text
    assert " to " in column(sheet, "95% interval")[1].text
    assert obstacles(explanation) == []


def test_bounds_stand_beside_the_measured_difference(explanation: Explanation):
    sheet = predictive_sheet(explanation)
    found = explanation.predictive["test"]
    assert sheet is not None
    assert found.accuracy is not None
    accuracy, measured = column(sheet, "accuracy")[0], sheet.rows[0][4]
    assert accuracy.order == found.accuracy.value
    change = explanation.performance["test"]["accuracy"].difference
    assert change is not None
    assert measured.order == 100 * change
    # Bounds from other inputs stand beside the only split that was measured, and beside none of two.
    apart = predictive_sheet(replace(explanation, predictive={"inputs": found}))
    assert apart is not None
    assert apart.rows[0][4] == measured
    two = replace(explanation, predictive={"inputs": found}, performance=explanation.performance | {"train": {}})
    both = predictive_sheet(two)
    assert both is not None
    assert both.rows[0][4].text == "n/a"


def test_without_predictions_there_is_no_table_of_bounds(explanation: Explanation):
    absent = Predictive(confidence=0.95, measurable=False, reason="no classes")
    without = replace(explanation, predictive={"test": absent})
    assert predictive_sheet(without) is None
    assert obstacles(without) == ["bound from the predictions on test: no classes"]


def test_a_difference_that_was_not_measured_is_not_available(explanation: Explanation):
    lost = replace(
        explanation.performance["test"]["loss"],
        compressed=math.nan,
        difference=None,
        absolute=None,
        standard_error=None,
        lower=None,
        upper=None,
        measurable=False,
        reason="3 outputs are not finite",
    )
    broken = replace(explanation, performance={"test": {"loss": lost}})
    sheet = performance_sheet(broken)
    assert [column(sheet, title)[0].text for title in ("after", "change", "95% interval")] == ["n/a"] * 3
    assert obstacles(broken) == ["loss on test: 3 outputs are not finite"]
