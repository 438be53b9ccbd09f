from typing import Any

import numpy as np
import pandas as pd
import pytest

from shrinkscope.errors import StoreError
from shrinkscope.report.curves import Curves

WHERE = ("pd_loss_test", "all", "random", 0.3)


def rows_of(records: Any, metric: str, scope: str, method: str, level: float, layer: str = "") -> Any:
    """The definition: filter the long table by every column."""
    chosen = (records.metric == metric) & (records.scope == scope) & (records.method == method)
    return records[chosen & (records.level == level) & (records.layer == layer)]


def test_a_curve_has_the_mean_and_the_range_of_the_trials(records: Any):
    curve = Curves(records).curve(*WHERE)
    by_epoch = rows_of(records, *WHERE).groupby("epoch")["value"]
    assert curve.epochs.tolist() == list(range(21))
    np.testing.assert_allclose(curve.mean, by_epoch.mean(), rtol=1e-14)  # three float64 terms, another order
    np.testing.assert_array_equal(curve.low, by_epoch.min())
    np.testing.assert_array_equal(curve.high, by_epoch.max())
    np.testing.assert_array_equal(np.sort(curve.at(7)), np.sort(by_epoch.get_group(7)))


def test_the_order_of_the_rows_does_not_matter(records: Any):
    shuffled = records.sample(frac=1, random_state=3)
    np.testing.assert_array_equal(Curves(shuffled).curve(*WHERE).values, Curves(records).curve(*WHERE).values)


def test_layers_have_curves_of_their_own(records: Any):
    where = ("ap2", "all", "lowest", 0.5, "conv2.weight")
    expected = rows_of(records, *where).groupby("epoch")["value"].mean()
    np.testing.assert_allclose(Curves(records).curve(*where).mean, expected, rtol=1e-14)


def test_what_was_not_measured_is_left_out_and_never_zero(records: Any):
    holed = records.copy()
    chosen = rows_of(holed, *WHERE)
    one, all_three = chosen[(chosen.epoch == 4) & (chosen.trial == 2)].index, chosen[chosen.epoch == 9].index
    holed.loc[[*one, *all_three], "value"] = np.nan
    curve = Curves(holed).curve(*WHERE)
    kept = chosen[(chosen.epoch == 4) & (chosen.trial != 2)]["value"]
    assert curve.measured[[4, 9]].tolist() == [2, 0]
    assert (curve.mean[4], curve.low[4], curve.high[4]) == (pytest.approx(kept.mean()), kept.min(), kept.max())
    assert np.isnan([curve.mean[9], curve.low[9], curve.high[9]]).all()
    assert curve.at(9).size == 0


def test_the_reason_of_a_missing_value_is_known(records: Any):
    holed = records.assign(reason=None)
    index = rows_of(holed, *WHERE).query("epoch == 9 and trial == 1").index
    holed.loc[index, "value"] = np.nan
    holed.loc[index, "reason"] = "outputs are not finite"
    curves = Curves(holed)
    assert curves.reason(*WHERE, 9) == "outputs are not finite"
    assert curves.reason(*WHERE, 8) == Curves(records).reason(*WHERE, 9) == ""


def test_the_parts_of_the_grid_are_ordered_for_reading(records: Any):
    curves = Curves(records)
    assert curves.scopes == ["last", "all"]
    assert curves.methods == ["lowest", "random", "highest"]
    assert curves.levels == [0.1, 0.3, 0.5, 0.8]
    assert curves.layers == ["conv1.weight", "conv2.weight", "conv3.weight", "head.weight"]
    assert (curves.trials, curves.last_epoch) == (3, 20)
    assert "ap2" in curves.metrics_of("head.weight")
    assert "pd_loss_test" not in curves.metrics_of("head.weight")


def test_a_configuration_that_was_not_run_has_no_points(records: Any):
    assert Curves(records).curve("ap2", "all", "lowest", 0.99).epochs.size == 0


def test_a_missing_column_is_named(records: Any):
    with pytest.raises(StoreError, match="lacks the columns epoch, layer"):
        Curves(records.drop(columns=["epoch", "layer"]))


def test_records_of_dense_networks_alone_are_not_a_study(records: Any):
    with pytest.raises(StoreError, match="no row of a compressed network"):
        Curves(records[records.method == "dense"])


def test_two_runs_in_one_table_are_told_apart_from_one(records: Any):
    both = pd.concat([records, records.assign(run="again")])
    with pytest.raises(StoreError, match="recorded twice.*select the records of one run"):
        Curves(both)
