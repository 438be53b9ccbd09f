import itertools
import re
from typing import Any

import numpy as np
import pytest

from shrinkscope.errors import StoreError
from shrinkscope.report.figures import FAMILIES, Picture, demo_figures
from shrinkscope.report.figures.style import (
    LEVEL_COLOURS,
    METHOD_COLOURS,
    OTHER_COLOURS,
    THEMED,
    level_colours,
    method_colours,
    readable,
)


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


def linear(colour: str) -> np.ndarray:
    """Red, green and blue light of an sRGB colour."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, by its definition."""
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


# What someone sees who lacks the cones for long, middle or short waves: Machado, Oliveira and Fernandes (2009), table
# 1, severity 1, on linear light.
CONES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(light: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of linear sRGB light under its own white."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = (np.array(to_xyz) @ np.clip(light, 0, 1)) / np.sum(to_xyz, axis=1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", ["everyone", *CONES])
@pytest.mark.parametrize(("label", "least"), [(False, 10), (True, 5)])
def test_colours_of_one_panel_can_be_told_apart_by_everyone(sight, label, least):
    """Lines, and the labels at their ends, which are darker, and say in words what they are."""
    seen = np.array(CONES[sight]) if sight in CONES else np.eye(3)
    for palette in (LEVEL_COLOURS, METHOD_COLOURS.values()):
        colours = [lab(seen @ linear(readable(colour) if label else colour)) for colour in palette]
        # A difference of 2.3 is just noticeable side by side.
        assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(colours, 2)) > least


def test_labels_can_be_read_on_white():
    for colour in (*LEVEL_COLOURS, *METHOD_COLOURS.values(), *OTHER_COLOURS):
        text = readable(colour)
        assert 1.05 / (luminance(text) + 0.05) >= 4.5  # what WCAG 2 asks of small type
        assert text == colour or luminance(text) < luminance(colour)
        # The report's dark theme replaces both by the same variable.
        assert THEMED[text] == THEMED[colour]
    assert readable("#ffffff") == "#767676"  # the lightest grey that passes, as is well known


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
