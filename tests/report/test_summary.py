from typing import Any

import numpy as np
import pytest

from shrinkscope.report.curves import Curves
from shrinkscope.report.sheet import Cell, Sheet
from shrinkscope.report.summary import dense_in_words, layers_sheet, summary_sheets


def column(sheet: Sheet, title: str, stage: str = "") -> list[Cell]:
    (index,) = [i for i, c in enumerate(sheet.columns) if (c.title, c.stage) == (title, stage)]
    return [row[index] for row in sheet.rows]


@pytest.mark.parametrize(
    ("title", "stage", "metric", "epoch"),
    [
        ("AP2", "pruned", "ap2", 0),
        ("AP2", "tuned", "ap2", 20),
        ("AP3 t grp", "pruned", "ap3_student_t_grouped", 0),
        ("accuracy", "tuned", "accuracy_test", 20),
        ("PD loss", "pruned", "pd_loss_test", 0),
        ("PD acc.", "tuned", "pd_accuracy_test", 20),
    ],
)
def test_cells_are_means_over_trials(records: Any, title: str, stage: str, metric: str, epoch: int):
    last, everywhere = summary_sheets(Curves(records))
    for sheet, scope in ((last, "last"), (everywhere, "all")):
        chosen = records[(records.scope == scope) & (records.metric == metric) & (records.layer == "")]
        chosen = chosen[(chosen.epoch == epoch) & (chosen.method != "dense")]
        expected = chosen.groupby(["method", "level"])["value"].mean()
        order = [(m, level) for m in ("lowest", "random", "highest") for level in (0.1, 0.3, 0.5, 0.8)]
        # Means of three float64 numbers, summed in another order.
        assert [cell.order for cell in column(sheet, title, stage)] == pytest.approx([expected[k] for k in order])


def test_the_note_of_a_cell_is_the_range_of_the_trials(records: Any):
    _, everywhere = summary_sheets(Curves(records))
    chosen = records.query("scope == 'all' and metric == 'pd_loss_test' and method == 'lowest' and level == 0.8")
    trials = chosen.query("epoch == 0")["value"]
    note = column(everywhere, "PD loss", "pruned")[3].note
    assert note == f"{trials.min():.3f} to {trials.max():.3f}"


def test_a_configuration_that_was_not_measured_is_not_available(records: Any):
    holed = records.assign(reason=None)
    chosen = (
        (holed.metric == "pd_loss_test") & (holed.method == "highest") & (holed.epoch == 0) & (holed.scope == "all")
    )
    holed.loc[chosen & (holed.level == 0.8), ["value", "reason"]] = [np.nan, "7 outputs are not finite"]
    holed.loc[chosen & (holed.level == 0.5) & (holed.trial == 1), "value"] = np.nan
    _, sheet = summary_sheets(Curves(holed))
    partly, none = column(sheet, "PD loss", "pruned")[-2:]
    assert (none.text, none.order) == ("n/a", None)
    assert none.note == "measured in no trial: 7 outputs are not finite"
    assert partly.note.endswith("measured in 2 of 3 trials")


def test_metrics_that_were_not_recorded_have_no_column(records: Any):
    sheets = summary_sheets(Curves(records[records.metric != "ap3_gaussian"]))
    assert "AP3 Gauss" not in [column.title for column in sheets[0].columns]


def test_the_dense_network_is_described(records: Any):
    assert "98.1 % accuracy on held-out data" in dense_in_words(Curves(records))
    assert "(mean of 3 trials)" in dense_in_words(Curves(records))
    assert dense_in_words(Curves(records[records.method != "dense"])) == ""


def test_every_layer_has_a_row(records: Any):
    sheet = layers_sheet(Curves(records))
    assert sheet is not None
    assert len(sheet.rows) == 3 * 4 * 4  # methods, levels, layers; the last layer alone needs no table
    chosen = records.query("scope == 'all' and metric == 'relative_ap2' and layer == 'conv2.weight' and epoch == 0")
    expected = chosen.query("method == 'random' and level == 0.5")["value"].mean()
    found = [
        cell.order
        for cell, row in zip(column(sheet, "relative AP2"), sheet.rows, strict=True)
        if [c.text for c in row[1:4]] == ["random", "50 %", "conv2.weight"]
    ]
    assert found == pytest.approx([expected])


def test_without_layers_there_is_no_table_of_layers(records: Any):
    assert layers_sheet(Curves(records[records.layer == ""])) is None
    assert layers_sheet(Curves(records[records.scope == "last"])) is None
