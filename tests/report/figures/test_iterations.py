from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from shrinkscope.report.curves import Curves
from shrinkscope.report.figures import demo_figures
from shrinkscope.report.figures.iterations import towards_the_end
from shrinkscope.report.figures.picture import Picture

LEVELS = (0.1, 0.3, 0.5, 0.8)


def lines(axes: Axes) -> list[np.ndarray]:
    (collection, *_) = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [np.asarray(segment) for segment in collection.get_segments()]


@pytest.mark.parametrize(
    ("row", "metrics"),
    [(0, ("epsilon_2_7_gaussian", "epsilon_3_6_gaussian")), (1, ("bound_3_6_gaussian", "pd_loss_train"))],
)
def test_the_lines_are_the_recorded_means(records: Any, row: int, metrics: tuple[str, str]):
    picture = towards_the_end(Curves(records), "gaussian", "last")
    assert len(picture.figure.axes) == 6
    random_panel = picture.figure.axes[3 * row + 1]
    drawn = lines(random_panel)
    network = records[(records.layer == "") & (records.scope == "last") & (records.method == "random")]
    zero = min(random_panel.get_yticks())
    for index, (level, metric) in enumerate((level, metric) for level in LEVELS for metric in metrics):
        chosen = network[(network.level == level) & (network.metric == metric)]
        expected = chosen.groupby("epoch")["value"].mean().to_numpy()
        np.testing.assert_allclose(drawn[index][:, 1], np.where(expected == 0, zero, expected), rtol=1e-14)
    assert all(axes.get_yscale() == "log" for axes in picture.figure.axes)


def test_the_end_of_definition_2_7_is_drawn_at_zero(records: Any):
    axes = towards_the_end(Curves(records), "gaussian", "last").figure.axes[0]
    labels = [axes.yaxis.get_major_formatter()(tick, i) for i, tick in enumerate(axes.get_yticks())]
    assert labels[0] == "0"
    solid = lines(axes)[::2]
    assert {line[-1, 1] for line in solid} == {axes.get_yticks()[0]}
    assert all((line[:-1, 1] > axes.get_yticks()[0]).all() for line in solid)


@pytest.mark.parametrize(("latent", "scope"), [("gaussian", "all"), ("student_t_grouped", "last")])
def test_where_there_is_no_bound_there_is_no_row_for_it_and_the_caption_says_so(records: Any, latent: str, scope: str):
    picture = towards_the_end(Curves(records), latent, scope)
    assert len(picture.figure.axes) == 3
    assert "No bound is drawn" in picture.caption
    assert "No bound is drawn" not in towards_the_end(Curves(records), "gaussian", "last").caption


def test_both_quantities_are_told_apart_in_words(records: Any):
    picture = towards_the_end(Curves(records), "gaussian", "last", data="a made-up study")
    assert "KL(P_ω*‖P_ω̃ᵗ)|, which is 0 at the last epoch" in picture.caption
    assert "KL(P_ω̃*‖P_ω̃ᵗ)|, which is AP3 itself there" in picture.caption
    assert picture.caption.endswith("Data: a made-up study.")
    keys = [text.get_text() for legend in picture.figure.legends for text in legend.get_texts()]
    assert set(keys) == {
        "ε of Definition 2.7, Gaussian (nats)",
        "ε of Theorem 3.6, Gaussian (nats)",
        "bound of Theorem 3.6, Gaussian (nats)",
        "PD in loss, training (nats)",
        "mean and range of 3 trials",
    }


def test_the_demo_shows_them_for_both_scopes(pictures: dict[str, Picture]):
    names = [name for name, picture in pictures.items() if picture.family == "iterations"]
    assert names == [
        f"iterations-{latent}-{s}" for s in ("all", "last") for latent in ("gaussian", "student-t-grouped")
    ]


def test_a_study_without_them_has_no_such_picture(records: Any):
    with_one = records[records.metric.isin(["ap2", "pd_loss_test", "epsilon_2_7_gaussian"])]
    assert not [name for name in demo_figures(with_one) if name.startswith("iterations")]
