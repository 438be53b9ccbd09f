"""The least divergence of given moments: two-point laws attain it, no law goes below, and the inverse inverts it."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from references.covariances import generator, normal
from shrinkscope.errors import TheoryError
from shrinkscope.theory.moments import furthest_means, least_divergence

probabilities = st.floats(1e-3, 1 - 1e-3)


@given(p=probabilities, q=probabilities, width=st.floats(1e-3, 1e3))
@settings(max_examples=500)
def test_laws_on_two_points_attain_it(p, q, width):
    with mpmath.workdps(40):
        first, second = mpmath.mpf(p), mpmath.mpf(q)
        exact = first * mpmath.log(first / second) + (1 - first) * mpmath.log((1 - first) / (1 - second))
    square, variances = (width * (p - q)) ** 2, [width**2 * w * (1 - w) for w in (p, q)]
    # p − q cancels to a relative 1e-16/|p − q|, which the moments, and with them the result, inherit twice.
    slack = 1e-14 + 1e-15 / abs(p - q) if p != q else math.inf
    assert least_divergence(square, *variances) == pytest.approx(float(exact), rel=slack, abs=1e-300)


@pytest.mark.parametrize("moments", [(1.0, 1.0, 1.0), (1e-6, 2.0, 0.5), (30.0, 0.1, 7.0), (5.0, 0.0, 2.0)])
def test_it_is_the_integral(moments):
    x, a, b = moments
    integral, error = quad(lambda t: t * x / ((1 - t) * a + t * b + t * (1 - t) * x), 0, 1, epsabs=0, epsrel=1e-11)
    assert least_divergence(x, a, b) == pytest.approx(integral, abs=2 * error, rel=1e-10)


@pytest.mark.parametrize(("points", "dim"), [(2, 1), (3, 1), (3, 2), (6, 3)])
def test_no_law_goes_below_it(points, dim):
    rng = generator(points + 10 * dim)
    places = normal(2000, points, dim, rng=rng) ** 3
    weights = [torch.rand(2000, points, generator=rng, dtype=torch.float64) ** 4 for _ in range(2)]
    first, second = (w / w.sum(-1, keepdim=True) for w in weights)
    means = [torch.einsum("bp,bpd->bd", w, places) for w in (first, second)]
    traces = [
        (w * (places - m.unsqueeze(1)).square().sum(-1)).sum(-1).tolist()
        for w, m in zip((first, second), means, strict=True)
    ]
    squares = (means[0] - means[1]).square().sum(-1).tolist()
    divergences = (first * (first / second).log()).sum(-1).tolist()
    for square, a, b, kl in zip(squares, *traces, divergences, strict=True):
        assert least_divergence(square, a, b) <= kl * (1 + 1e-9) + 1e-12
        assert square <= furthest_means(kl, a, b) * (1 + 1e-6) + 1e-12


@given(x=st.floats(1e-6, 1e6), a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3))
@settings(max_examples=300)
def test_it_is_above_what_pinsker_and_lemma_2_5_give(x, a, b):
    value, spread = least_divergence(x, a, b), (math.sqrt(a) + math.sqrt(b)) ** 2
    assert value >= 2 * x**2 / (x**2 + 2 * x * (a + b) + (a - b) ** 2) * (1 - 1e-9)
    assert value >= 2 * (x / (x + a + b)) ** 2 * (1 - 1e-9)  # Eq. (16) as printed
    assert value >= 2 * (x / (x + spread)) ** 2 * (1 - 1e-9)


@given(epsilon=st.floats(1e-9, 30), a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3))
@settings(max_examples=300)
def test_the_inverse_inverts(epsilon, a, b):
    # The result is enlarged by a relative 1e-9, and the divergence grows at most like the square of x.
    assert least_divergence(furthest_means(epsilon, a, b), a, b) == pytest.approx(epsilon, rel=1e-7)


def test_small_divergences_of_equal_variances_are_those_of_gaussians():
    assert furthest_means(1e-8, 3.0, 3.0) == pytest.approx(2e-8 * 3.0, rel=1e-6)


def test_the_ends_are_right():
    assert least_divergence(0.0, 1.0, 2.0) == 0.0
    assert least_divergence(1.0, math.inf, 1.0) == 0.0
    assert least_divergence(1.0, 1.0, 0.0) == math.inf
    assert least_divergence(1e-200, 1.0, 1.0) == 0.0
    assert least_divergence(math.inf, 1.0, 1.0) == math.inf
    assert furthest_means(0.0, 1.0, 1.0) == 0.0
    assert furthest_means(1.0, 1.0, 0.0) == 0.0
    assert furthest_means(math.inf, 1.0, 1.0) == furthest_means(1.0, math.inf, 1.0) == math.inf
    assert furthest_means(1e4, 1.0, 1.0) == math.inf  # beyond what floats hold
    assert furthest_means(1e-320, 1e300, 1e-300) > 0


@pytest.mark.parametrize("function", [least_divergence, furthest_means])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_nonsense_is_refused(function, position):
    arguments = [1.0, 1.0, 1.0]
    arguments[position] = -1.0
    with pytest.raises(TheoryError, match="is -1.0; expected a number of at least 0"):
        function(*arguments)
