import itertools
import re
from typing import Any

import numpy as np
import pytest

from shrinkscope.errors import StoreError
from shrinkscope.report.figures import FAMILIES, Picture, demo_figures
from shrinkscope.report.figures.style import LEVEL_COLOURS, METHOD_COLOURS, level_colours, method_colours


def test_the_papers_pictures_are_there(pictures: dict[str, Picture]):
    for scope in ("last", "all"):
        for part in ("train", "test"):
            assert f"ap2-pd-loss-{part}-{scope}" in pictures
            assert f"ap2-pd-accuracy-{part}-{scope}" in pictures
        assert f"ap3-student-t-grouped-pd-accuracy-test-{scope}" in pictures
        assert f"ap3-gaussian-rotated-pd-loss-test-{scope}" in pictures
        assert f"ap2-ap3-student-t-grouped-{scope}" in pictures
        assert f"scatter-pd-loss-test-{scope}" in pictures
    assert {"layers-relative-ap2-all", "map-ap3-student-t-all"} <= set(pictures)


def test_pictures_come_family_by_family_with_captions(pictures: dict[str, Picture]):
    order = [list(FAMILIES).index(picture.family) for picture in pictures.values()]
    assert order == sorted(order)
    for name, picture in pictures.items():
        assert name == picture.name
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert "a made-up study" in picture.caption


def test_metrics_that_were_not_recorded_are_not_drawn(records: Any):
    few = records[records.metric.isin(["ap2", "pd_loss_test"]) & (records.scope == "last") & (records.layer == "")]
    assert set(demo_figures(few)) == {"ap2-pd-loss-test-last", "scatter-pd-loss-test-last"}


def test_records_without_rows_are_refused(records: Any):
    with pytest.raises(StoreError, match="no row of a compressed network"):
        demo_figures(records.iloc[:0])


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, by its definition."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_levels_darken_so_that_they_survive_grey_printing():
    steps = [luminance(colour) for colour in LEVEL_COLOURS]
    assert all(a > 1.5 * b for a, b in itertools.pairwise(steps))
    many = [luminance(colour) for colour in level_colours([i / 10 for i in range(1, 10)]).values()]
    assert many == sorted(many, reverse=True)


def test_methods_keep_their_colours_in_any_company():
    assert method_colours(["zeta", "lowest"])["lowest"] == METHOD_COLOURS["lowest"]
    assert len(set(method_colours(["lowest", "random", "highest", "l1", "l2"]).values())) == 5


def test_the_rotated_gaussian_may_be_of_weights_or_of_group_means(records: Any):
    small = records[records.metric.isin(["ap3_gaussian_rotated", "pd_loss_test"]) & (records.scope == "last")]
    renamed = small.replace({"metric": {"ap3_gaussian_rotated": "ap3_gaussian_rotated_grouped"}})
    assert "ap3-gaussian-rotated-pd-loss-test-last" in demo_figures(small)
    assert "ap3-gaussian-rotated-grouped-pd-loss-test-last" in demo_figures(renamed)
