import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.optimize import minimize

from shrinkscope.report.figures.labels import EndLabel, label_ends, spread

positions = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=8)


def spread_by_optimiser(wanted: np.ndarray, gap: float, lower: float, upper: float) -> np.ndarray:
    """The definition, by a general-purpose optimiser: least squares under the distances between neighbours."""
    ordered = np.sort(wanted)
    apart = [{"type": "ineq", "fun": lambda y, i=i: y[i + 1] - y[i] - gap} for i in range(len(ordered) - 1)]
    start = np.linspace(lower, upper, len(ordered))
    found = minimize(
        lambda y: ((y - ordered) ** 2).sum(),
        start,
        jac=lambda y: 2 * (y - ordered),
        bounds=[(lower, upper)] * len(ordered),
        constraints=apart,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x


@pytest.mark.parametrize("seed", range(8))
def test_labels_move_as_little_as_possible(seed: int):
    wanted = np.random.default_rng(seed).beta(0.7, 0.7, size=6)
    # SLSQP stops where the objective changes by less than 1e-14, that is positions by about 1e-7.
    np.testing.assert_allclose(
        np.sort(spread(wanted, 0.12, 0.05, 0.95)), spread_by_optimiser(wanted, 0.12, 0.05, 0.95), atol=1e-6
    )


@given(positions)
def test_no_two_labels_are_closer_than_the_gap(wanted: list[float]):
    moved = spread(wanted, 0.1, 0.0, 1.0)
    assert (np.diff(np.sort(moved)) >= 0.1 - 1e-12).all()
    assert ((moved >= -1e-12) & (moved <= 1 + 1e-12)).all()
    # Labels keep the order of their lines.
    assert (np.diff(moved[np.argsort(wanted, kind="stable")]) > 0).all()


@given(positions)
def test_labels_with_room_stay_at_their_lines(wanted: list[float]):
    moved = spread(wanted, 1e-9, -1.0, 2.0)
    np.testing.assert_allclose(moved, wanted, atol=1e-8)


def test_too_many_labels_keep_their_distance_beyond_the_limit():
    moved = spread([0.5] * 30, 0.1, 0.0, 1.0)
    assert (np.diff(np.sort(moved)) >= 0.1 - 1e-12).all()


def test_nothing_to_label():
    assert spread([], 0.1, 0.0, 1.0).size == 0


def test_a_line_that_ends_in_nothing_has_no_label():
    axes = Figure().add_axes((0.1, 0.1, 0.6, 0.8))
    label_ends(axes, [EndLabel("gone", float("nan"), "#000000"), EndLabel("here", 0.5, "#000000")])
    assert [text.get_text() for text in axes.texts] == ["here"]
