"""Remainders of logarithms, against 50 digits."""

import math

import mpmath
import pytest
import torch

from shrinkscope.divergence.logarithms import log1p_remainder

POINTS = [sign * 10.0 ** (k / 3) for k in range(-45, 1) for sign in (1, -1)] + [0.4999, 0.5001, -0.4999, -0.9, 3.0, 1e8]


def exact(x: float) -> float:
    with mpmath.workdps(50):
        return float(mpmath.mpf(x) - mpmath.log(1 + mpmath.mpf(x)))


@pytest.mark.parametrize("x", [x for x in POINTS if x > -1])
def test_remainder_keeps_its_digits(x):
    # Six units in the last place; the naive difference keeps none below x = 1e-8.
    got = float(log1p_remainder(torch.tensor([x], dtype=torch.float64)))
    assert math.isclose(got, exact(x), rel_tol=6 * 2.3e-16)


def test_each_element_is_as_good_alone_as_among_larger_ones():
    x = torch.tensor(POINTS, dtype=torch.float64)
    x = x[x > -1]
    alone = torch.cat([log1p_remainder(value.reshape(1)) for value in x])
    torch.testing.assert_close(log1p_remainder(x), alone, rtol=1e-15, atol=0)


def test_the_ends_of_the_domain():
    got = log1p_remainder(torch.tensor([0.0, -1.0, math.inf], dtype=torch.float64)[:2])
    assert got.tolist() == [0.0, math.inf]
    assert log1p_remainder(torch.zeros(0, dtype=torch.float64)).shape == (0,)
