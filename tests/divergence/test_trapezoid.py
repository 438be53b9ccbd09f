"""The rule against integrals in closed form, and what its error estimate promises."""

import math

import numpy as np
import pytest

from shrinkscope.divergence.trapezoid import falling_point, grid, ratio, trapezoid
from shrinkscope.errors import DivergenceError


@pytest.mark.parametrize("step", [1.5, 1.0, 0.6, 0.25])
def test_the_error_covers_what_the_sum_of_a_gaussian_is_off_by(step):
    x = grid(-10.0, 10.0, step)
    value, error = trapezoid(np.exp(-x * x / 2), step, x * x / 2)
    assert abs(value - math.sqrt(2 * math.pi)) <= error
    # What halving changed is 2√(2π)·e^(−π²/(2h²)); here the error itself is smaller still, e^(−2π²/h²).
    assert error < 11 * math.exp(-((math.pi / step) ** 2)) + 1e-13


def test_one_rounding_of_a_large_exponent_counts():
    x = grid(-10.0, 10.0, 0.25)
    plain, large = (trapezoid(np.exp(-x * x / 2), 0.25, size)[1] for size in (0.0, 1e6))
    assert large == pytest.approx(plain + 1.1e-16 * 1e6 * math.sqrt(2 * math.pi))


def test_terms_that_are_all_zero_have_no_error():
    assert trapezoid(np.zeros(5), 0.1) == (0.0, 0.0)


def test_a_quotient_forgives_what_both_integrals_share():
    x = grid(-10.0, 10.0, 0.25)
    weight = np.exp(-x * x / 2)
    value, error = ratio(3 * weight, weight, 0.25, np.full_like(x, 1e6))
    assert value == pytest.approx(3.0, abs=error)
    assert error < 1e-13  # with independent roundings it would be 3e-10
    moment, spread = ratio(x * x * weight, weight, 0.25, np.full_like(x, 1e6))
    assert moment == pytest.approx(1.0, abs=1e-14)
    assert 1e-11 < spread < 1e-9


def test_a_quotient_of_complex_terms_takes_their_imaginary_parts():
    x = grid(-10.0, 10.0, 0.25)
    weight = np.exp(-x * x / 2) * (1 + 2j)
    assert ratio(weight * (1 + 1j), weight, 0.25, 0 * x)[0] == pytest.approx(1.5)


@pytest.mark.parametrize("direction", [-1.0, 1.0, 0.01, -300.0])
def test_the_falling_point_is_below_the_level_and_not_far_beyond(direction):
    point = falling_point(lambda x: -x * x, 0.0, direction, -25.0)
    assert -point * point < -25
    assert 5 < math.copysign(point, 1) < 5.1
    assert math.copysign(1, point) == math.copysign(1, direction)


def test_millions_of_nodes_are_refused():
    with pytest.raises(DivergenceError, match="an integral would need 1e[+]07 nodes, at most 4000000 are used"):
        grid(0.0, 1.0, 1e-7)


def test_a_grid_of_no_finite_length_is_refused():
    with pytest.raises(DivergenceError, match="an integral would need nan nodes"):
        grid(0.0, math.nan, 1.0)
