"""The radial part of a Student-t divergence against the closed form for equal locations, and its limits."""

import math

import pytest

from references.student_t_general import in_one_dimension, radial, series
from shrinkscope.divergence.radial import radial_kl
from shrinkscope.errors import DivergenceError


@pytest.mark.parametrize(
    ("dim", "df_p", "df_q", "mean_excess"),
    [
        (1, 4, 7, 0.5),
        (2, 0.1, 0.2, 0.0),
        (3, 1, 2, -0.9),
        (10, 4, 4, 1e-3),
        (10, 4, 4, 1e-8),
        (10, 30, 3, 2.0),
        (100, 4, 4.001, 0.0),
        (1000, 1e3, 1e4, 0.01),
        (10_000, 4, 4, 0.1),
        (1_000_000, 5, 4, -0.2),
    ],
)
def test_it_agrees_with_the_closed_form(dim, df_p, df_q, mean_excess):
    value, error = radial_kl(dim, df_p, df_q, mean_excess)
    # The factor is added in float, as the function does: 1 + x is exactly what both see.
    expected = series([1 + mean_excess], [dim], df_p, df_q, digits=60)
    assert value == pytest.approx(expected, rel=1e-12 if mean_excess != 1e-8 else 1e-7)  # 1 + 1e-8 is stored to ε/1e-8
    assert error <= 1e-10 * value


@pytest.mark.parametrize(
    ("df_p", "df_q", "mean_excess"),
    [(math.inf, 4, 0.3), (math.inf, 30, 0.0), (5, math.inf, 1.0), (3, math.inf, -0.5), (math.inf, math.inf, 0.5)],
)
def test_a_gaussian_on_either_side_agrees_with_direct_integration(df_p, df_q, mean_excess):
    value, _ = radial_kl(1, df_p, df_q, mean_excess)
    assert value == pytest.approx(in_one_dimension(0.0, math.sqrt(1 + mean_excess), df_p, df_q), rel=1e-13)


@pytest.mark.parametrize(
    ("dim", "df_p", "df_q", "mean_excess"),
    [
        (3, 1e6, 1.0001e6, 0.0),
        (3, 1e9, 2e9, 0.0),
        (3, 1e5, 1e5, 1e-9),
        (3, math.inf, 1e4, 1e-3),
        (2, 3, 4, 1e20),
        (2, math.inf, 4, 3e17),
        (2, 30, 5, 1e-12 - 1),
        (40, 1e3, 1e-2, 0.0),
    ],
)
def test_extreme_parameters_agree_with_fifty_digits(dim, df_p, df_q, mean_excess):
    value, error = radial_kl(dim, df_p, df_q, mean_excess)
    expected = radial(dim, df_p, df_q, mean_excess)
    assert abs(value - expected) <= error + 1e-14 * value  # the error that the function states
    assert error <= 1e-9 * value


def test_the_closed_form_and_the_integral_meet():
    # The function changes method at df = 4; the divergence is smooth there, with a slope below its size.
    below, above = radial_kl(7, 4 - 1e-9, math.inf, 0.1)[0], radial_kl(7, 4.0, math.inf, 0.1)[0]
    assert below == pytest.approx(above, rel=5e-9)


@pytest.mark.parametrize(("df_p", "df_q"), [(1e6, 1e6 + 1), (1e14, 1e15), (math.inf, 1e15), (1e15, math.inf)])
def test_near_the_gaussian_limit_it_has_its_leading_order(df_p, df_q):
    # log t_ν = −z/2 + (z²/4 − z/2)/ν + … for z = x²; half the variance of z²/4 − z/2 under a standard normal is 7/4.
    gap = 1 / df_p - 1 / df_q
    # Next order is smaller by a few times 1/df; the gap of the first pair is stored to 1e-16·1e6.
    assert radial_kl(1, df_p, df_q, 0.0)[0] == pytest.approx(1.75 * gap**2, rel=1e-4)


def test_equal_laws_have_no_divergence():
    assert radial_kl(5, 3.0, 3.0, 0.0) == (0.0, 0.0)
    assert radial_kl(5, math.inf, math.inf, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize(("df_p", "df_q"), [(1e-6, 1.0), (1.0, 1e-6)])
def test_extreme_tails_are_refused(df_p, df_q):
    with pytest.raises(DivergenceError, match="radial integral would need .* nodes, at most 4000000 are used"):
        radial_kl(2, df_p, df_q, 0.0)
