from typing import Any

import numpy as np
import pandas as pd
import pytest

from shrinkscope.report.curves import Curves
from shrinkscope.report.figures.layers import MOST_LAYERS, bars_by_layer, map_of_layers, most_damaged


def test_bars_are_means_just_after_pruning(records: Any):
    picture = bars_by_layer(Curves(records), "relative_ap2", "all")
    start = records[(records.scope == "all") & (records.epoch == 0) & (records.metric == "relative_ap2")]
    for axes, method in zip(picture.figure.axes, ("lowest", "random", "highest"), strict=True):
        expected = start[(start.method == method) & (start.layer != "")].groupby(["layer", "level"])["value"].mean()
        drawn = np.array([patch.get_width() for patch in axes.patches])  # pyright: ignore[reportAttributeAccessIssue]
        np.testing.assert_allclose(np.sort(drawn), np.sort(expected.to_numpy()), rtol=1e-14)


def test_a_layer_that_was_not_measured_is_not_available(records: Any):
    holed = records.copy()
    lost = (holed.layer == "conv1.weight") & (holed.metric == "relative_ap2") & (holed.level == 0.5)
    holed.loc[lost, "value"] = np.nan
    for draw in (bars_by_layer, map_of_layers):
        picture = draw(Curves(holed), "relative_ap2", "all")
        texts = [text.get_text() for axes in picture.figure.axes for text in axes.texts]
        assert texts.count("n/a") == 3  # one for each method


def test_the_map_shows_every_number(records: Any):
    picture = map_of_layers(Curves(records), "ap3_student_t", "all")
    assert sum(len(axes.texts) for axes in picture.figure.axes) == 3 * 4 * 4


@pytest.fixture(scope="module")
def deep(records: Any) -> Any:
    """The same study of a network with 40 layers, deeper layers more damaged."""
    start = records[(records.scope == "all") & (records.epoch == 0) & (records.layer == "conv2.weight")]
    parts = [start.assign(layer=f"blocks.{i}.weight", value=start["value"] * (1 + i)) for i in range(40)]
    return pd.concat([*parts, records[records.layer == ""]])


def test_of_many_layers_the_most_damaged_are_shown(deep: Any):
    shown = most_damaged(Curves(deep), "relative_ap2", "all")
    assert shown == [f"blocks.{i}.weight" for i in range(40 - MOST_LAYERS, 40)]
    picture = bars_by_layer(Curves(deep), "relative_ap2", "all")
    assert f"{MOST_LAYERS} of 40 layers" in picture.caption
    assert picture.figure.get_figheight() < 14


def test_a_metric_of_no_layer_has_nothing_to_show(records: Any):
    assert most_damaged(Curves(records), "loss_test", "all") == []
