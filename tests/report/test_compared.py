import math

import torch
from msgspec.structs import replace

from shrinkscope.analysis import Comparison, Explanation, compare
from shrinkscope.analysis.predictive import Predictive
from shrinkscope.report.compared import not_compared, obstacles, performance_sheet, predictive_sheet, verdict
from shrinkscope.report.damage import layer_sheet
from shrinkscope.report.sheet import Cell, Sheet


def column(sheet: Sheet, title: str) -> list[Cell]:
    index = [column.title for column in sheet.columns].index(title)
    return [row[index] for row in sheet.rows]


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


def test_the_verdict_is_one_sentence_that_names_the_worst(comparison: Comparison):
    assert "\n" not in verdict(comparison)
    assert "compared tensors changed; most damaged by relative AP2: evil[red]" in verdict(comparison)
    assert "block5.weight (0.164 of ‖ω‖²)" in verdict(comparison)
    assert verdict(compare(weights := {"a.weight": torch.ones(2)}, weights)).startswith("identical: all 2 values")


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
