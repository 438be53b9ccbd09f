"""The logit of a Beta variable against scipy and mpmath."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from shrinkscope.divergence.beta_logit import deviation, log_base, log_product, log_variable, log_weight, logit

T = np.array([-40.0, -3.0, -1.0, -0.5, -1e-8, 0.0, 1e-8, 0.5, 1.0, 3.0, 40.0])


@pytest.mark.parametrize(("total", "mean"), [(3.0, 0.5), (7.5, 0.2), (40.0, 0.9)])
def test_the_weight_is_the_density_of_the_logit(total, mean):
    t = T[:-1]  # at 40, scipy's 1 − y has lost its digits: e^−40 is below ε
    y = 1 / (1 + np.exp(-(t + logit(mean))))
    density = stats.beta.logpdf(y, total * mean, total * (1 - mean)) + np.log(y) + np.log1p(-y)
    at_mean = stats.beta.logpdf(mean, total * mean, total * (1 - mean)) + np.log(mean) + np.log1p(-mean)
    np.testing.assert_allclose(log_weight(t, total, mean), density - at_mean, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mean", [1e-9, 0.3, 1 - 1e-9])
def test_logarithms_keep_their_digits(mean):
    with mpmath.workdps(40):
        base = [mpmath.log(1 + mpmath.mpf(mean) * mpmath.expm1(mpmath.mpf(float(t)))) for t in T]
        product = [
            mpmath.log(mean) + mpmath.log(1 - mpmath.mpf(mean)) + t - 2 * b for t, b in zip(T, base, strict=True)
        ]
        variable = [mpmath.log(mean) + t - b for t, b in zip(T, base, strict=True)]
    # Two or three terms of a size of up to 60 are added.
    np.testing.assert_allclose(log_base(T, mean), np.array(base, dtype=float), rtol=1e-13, atol=1e-24)
    np.testing.assert_allclose(log_product(T, mean), np.array(product, dtype=float), rtol=1e-13)
    np.testing.assert_allclose(log_variable(T, mean), np.array(variable, dtype=float), rtol=1e-12, atol=1e-14)


def test_far_ends_do_not_overflow():
    assert log_base(np.array([-1e4, 1e4]), 0.25) == pytest.approx([math.log(0.75), 1e4 + math.log(0.25)])


@pytest.mark.parametrize(("total", "mean"), [(3.0, 0.5), (1e9, 1e-6)])
def test_the_deviation_is_that_of_the_logit(total, mean):
    t = np.linspace(-12, 12, 200_001) * deviation(total, mean) * (1.0 if total > 100 else 3.0)
    weight = np.exp(log_weight(t, total, mean))
    centre = np.average(t, weights=weight)
    assert deviation(total, mean) == pytest.approx(math.sqrt(np.average((t - centre) ** 2, weights=weight)), rel=1e-8)


def test_the_logit():
    assert logit(0.75) == pytest.approx(math.log(3))
