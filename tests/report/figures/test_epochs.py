from functools import partial
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from shrinkscope.report.curves import Curves
from shrinkscope.report.figures.epochs import over_epochs
from shrinkscope.report.figures.picture import Picture


def lines(axes: Axes) -> list[np.ndarray]:
    (collection, *_) = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [np.asarray(segment) for segment in collection.get_segments()]


def test_panels_are_methods_above_and_levels_below(records: Any):
    picture = over_epochs(Curves(records), "ap2", "pd_loss_test", "all")
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes]
    assert titles[:3] == ["Lowest magnitudes removed", "Random choice removed", "Highest magnitudes removed"]
    assert titles[3:] == ["10 % removed", "30 % removed", "50 % removed", "80 % removed"]
    assert all(axes.get_yscale() == "log" for axes in picture.figure.axes)


def test_lines_are_the_means_over_trials(records: Any):
    picture = over_epochs(Curves(records), "ap2", "pd_loss_test", "all")
    random_panel = picture.figure.axes[1]
    drawn = lines(random_panel)
    assert len(drawn) == 8  # solid and dashed for each level
    network = records[(records.layer == "") & (records.scope == "all") & (records.method == "random")]
    for index, (level, metric) in enumerate((v, m) for v in (0.1, 0.3, 0.5, 0.8) for m in ("ap2", "pd_loss_test")):
        expected = network[(network.level == level) & (network.metric == metric)].groupby("epoch")["value"].mean()
        np.testing.assert_array_equal(drawn[index][:, 0], expected.index)
        np.testing.assert_allclose(drawn[index][:, 1], expected, rtol=1e-14)


def test_an_exact_zero_is_drawn_and_marked(records: Any):
    network = records[(records.layer == "") & (records.scope == "last") & (records.metric == "pd_accuracy_test")]
    assert (network["value"] == 0).any()  # otherwise this test shows nothing
    picture = over_epochs(Curves(records), "ap2", "pd_accuracy_test", "last")
    axes = picture.figure.axes[0]
    labels = [axes.yaxis.get_major_formatter()(tick, i) for i, tick in enumerate(axes.get_yticks())]
    assert labels[0] == "0"
    assert axes.get_yticks()[0] in np.concatenate([line[:, 1] for line in lines(axes)])


def test_gaps_are_counted_in_the_caption(records: Any):
    holed = records.copy()
    lost = (holed.metric == "pd_loss_test") & (holed.scope == "all") & (holed.layer == "") & (holed.epoch == 3)
    holed.loc[lost & (holed.trial == 1), "value"] = np.nan
    picture = over_epochs(Curves(holed), "ap2", "pd_loss_test", "all", rows=("levels",))
    assert "12 values could not be measured and are left out" in picture.caption
    assert "could not" not in over_epochs(Curves(records), "ap2", "pd_loss_test", "all").caption


def drawn_texts(picture: Picture) -> list[Text]:
    """Texts of a figure that leave ink; matplotlib keeps, but does not draw, the labels of ticks beyond an axis."""
    FigureCanvasAgg(picture.figure).draw()
    beyond = [
        tick.label1
        for axes in picture.figure.axes
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, sorted(axes.get_ylim())))
        for tick in axis.get_major_ticks()
        if not low <= tick.get_loc() <= high
    ]
    texts = picture.figure.findobj(Text)
    return [text for text in texts if text.get_visible() and text.get_text().strip() and text not in beyond]


def overlaps(picture: Picture) -> list[tuple[str, str]]:
    """Pairs of texts of a figure of which one covers the other."""
    boxes = [(text.get_text(), text.get_window_extent().padded(-0.5)) for text in drawn_texts(picture)]
    return [
        (first, second) for index, (first, a) in enumerate(boxes) for second, b in boxes[index + 1 :] if a.overlaps(b)
    ]


def test_no_text_of_any_figure_covers_another(pictures: dict[str, Picture]):
    found = {name: overlaps(picture) for name, picture in pictures.items()}
    assert {name: pairs for name, pairs in found.items() if pairs} == {}


@pytest.mark.parametrize("dpi", [72, 150])  # of SVG and PDF, of PNG: texts have other widths
def test_no_text_of_any_figure_leaves_it(pictures: dict[str, Picture], dpi: int, request: pytest.FixtureRequest):
    for name, picture in pictures.items():
        request.addfinalizer(partial(picture.figure.set_dpi, picture.figure.get_dpi()))
        picture.figure.set_dpi(dpi)
        frame = picture.figure.bbox.padded(1.0)
        for text in drawn_texts(picture):
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            assert inside, (name, text.get_text())


@pytest.mark.parametrize("trials", [1])
def test_a_single_trial_is_enough(records: Any, trials: int):
    picture = over_epochs(Curves(records[records.trial <= trials]), "ap2", "pd_loss_test", "all", rows=("methods",))
    assert len(picture.figure.axes) == 4
    assert "Lines are those of the one trial;" in picture.caption
