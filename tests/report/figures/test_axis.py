import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from shrinkscope.report.figures.axis import LogScale

amounts = st.lists(st.one_of(st.just(0.0), st.floats(min_value=1e-9, max_value=1e9)), min_size=1, max_size=20)


@given(amounts)
def test_every_value_has_a_place_inside_the_limits(values: list[float]):
    scale = LogScale([np.array(values)])
    placed = scale.place(np.array(values))
    assert ((placed > scale.lower) & (placed < scale.upper)).all()


@given(amounts)
def test_only_zeros_are_moved_and_they_lie_below_everything(values: list[float]):
    given_values = np.array(values)
    scale = LogScale([given_values])
    placed = scale.place(given_values)
    np.testing.assert_array_equal(placed[given_values > 0], given_values[given_values > 0])
    assert (scale.zero is not None) == (given_values == 0).any()
    if scale.zero is not None and (given_values > 0).any():
        assert scale.zero < given_values[given_values > 0].min()


@given(amounts)
def test_labels_say_where_they_are(values: list[float]):
    axes = Figure().add_subplot()
    scale = LogScale([np.array(values)])
    scale.apply(axes)
    ascii_digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    ticks = axes.get_yticks()
    labels = [axes.yaxis.get_major_formatter()(tick, position) for position, tick in enumerate(ticks)]
    for tick, label in zip(ticks, labels, strict=True):
        if label == "0":
            assert tick == scale.zero
            continue
        raised = label[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹"
        shown = 10.0 ** int(label[2:].translate(ascii_digits)) if raised else float(label.replace(",", ""))
        assert shown == pytest.approx(tick, rel=1e-12)
    assert len(set(labels)) == len(labels)
    assert len(labels) <= 15


def test_a_wide_range_has_few_labels():
    assert len(LogScale([np.array([1e-12, 1e12])]).decades) <= 8


def test_what_was_not_measured_does_not_count():
    with_gaps = LogScale([np.array([np.nan, 2.0, np.inf, 5.0])])
    without = LogScale([np.array([2.0, 5.0])])
    assert (with_gaps.lower, with_gaps.upper, with_gaps.zero) == (without.lower, without.upper, None)


def test_nothing_measured_still_makes_an_axis():
    scale = LogScale([])
    assert 0 < scale.lower < scale.upper
