"""The logit of a Beta variable against scipy and mpmath."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from shrinkscope.divergence.beta_logit import BetaLogit

T = np.array([-40.0, -3.0, -1.0, -0.5, -1e-8, 0.0, 1e-8, 0.5, 1.0, 3.0, 40.0])


@pytest.mark.parametrize(("first", "second"), [(1.5, 1.5), (1.5, 6.0), (36.0, 4.0)])
def test_the_weight_is_the_density_of_the_logit(first, second):
    beta, t = BetaLogit(first, second), T[1:-1]  # at ±40, scipy's y or 1 − y has lost its digits: e^−40 is below ε
    y, mean = 1 / (1 + np.exp(-(t + beta.centre))), first / (first + second)
    density, at_mean = (stats.beta.logpdf(x, first, second) + np.log(x) + np.log1p(-x) for x in (y, mean))
    np.testing.assert_allclose(beta.log_weight(t), density - at_mean, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("first", "second"), [(2.0, 3.0), (0.5, 1e9), (1e9, 0.5), (3e8, 1e9)])
def test_logarithms_keep_their_digits(first, second):
    beta = BetaLogit(first, second)
    with mpmath.workdps(60):
        total = mpmath.mpf(first) + mpmath.mpf(second)
        means = mpmath.log(first / total), mpmath.log(second / total)
        base = [mpmath.log(1 + first / total * mpmath.expm1(mpmath.mpf(float(t)))) for t in T]
        weight = [first * mpmath.mpf(float(t)) - total * b for t, b in zip(T, base, strict=True)]
        variable = [means[0] + float(t) - b for t, b in zip(T, base, strict=True)]
        product = [v + means[1] - b for v, b in zip(variable, base, strict=True)]
    close = np.array(weight, dtype=float)
    # The promise: an absolute error of a few ε times the smaller parameter times |t|, and of the result itself.
    assert np.all(np.abs(beta.log_weight(T) - close) <= 3e-15 * (beta.exponents(T) + np.abs(close)))
    np.testing.assert_allclose(beta.log_variable(T), np.array(variable, dtype=float), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(beta.log_product(T), np.array(product, dtype=float), rtol=1e-13, atol=1e-14)


def test_far_ends_do_not_overflow():
    t = np.array([-1e4, 1e4])
    assert BetaLogit(1.0, 3.0).log_weight(t) == pytest.approx([-1e4 - 4 * math.log(0.75), -3e4 - 4 * math.log(0.25)])


@pytest.mark.parametrize(("first", "second"), [(2.0, 1.0), (1e3, 1e9)])
def test_centre_and_deviation_are_those_of_the_logit(first, second):
    beta = BetaLogit(first, second)
    t = np.linspace(-40, 40, 400_001) * beta.deviation
    weight = np.exp(beta.log_weight(t))
    middle = np.average(t, weights=weight)
    assert beta.deviation == pytest.approx(math.sqrt(np.average((t - middle) ** 2, weights=weight)), rel=1e-8)
    assert beta.centre == pytest.approx(math.log(first / second))
