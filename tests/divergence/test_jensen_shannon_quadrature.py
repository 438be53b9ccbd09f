"""Jensen–Shannon divergences of shifted laws against the definition and against sampling."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from references import integrals
from shrinkscope.divergence.jensen_shannon_quadrature import gaussian_jensen_shannon, student_t_jensen_shannon
from shrinkscope.errors import DivergenceError

LOG_2 = math.log(2)


@pytest.mark.parametrize("delta", [1e-3, 0.1, 1.0, 4.0, 12.0])
def test_gaussians_agree_with_the_definition(delta):
    densities = integrals.gaussian(0.0, 1.0), integrals.gaussian(delta, 1.0)
    breaks = [-4, 0, delta / 2, delta, delta + 4]
    expected = integrals.on_the_line(integrals.DIVERGENCES["jensen_shannon"], *densities, breaks, df=6.0)
    assert gaussian_jensen_shannon(delta) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("df", [0.3, 1.0, 4.0, 60.0])
@pytest.mark.parametrize("delta", [1e-2, 1.0, 20.0])
def test_student_t_on_the_line_agrees_with_the_definition(delta, df):
    densities = integrals.student_t(0.0, 1.0, df), integrals.student_t(delta, 1.0, df)
    breaks = [-delta, -2, 0, delta / 2, delta, delta + 2, 2 * delta]
    expected = integrals.on_the_line(integrals.DIVERGENCES["jensen_shannon"], *densities, breaks, df=df)
    assert student_t_jensen_shannon(delta, dim=1, df=df) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("dim", "df", "delta"), [(2, 4.0, 1.0), (3, 1.5, 5.0), (10, 4.0, 0.3), (30, 8.0, 3.0)])
def test_student_t_in_space_agrees_with_the_definition(dim, df, delta):
    expected = integrals.shifted_student_t("jensen_shannon", delta, dim, df)
    # The panels of the reference leave up to 2e-10.
    assert student_t_jensen_shannon(delta, dim=dim, df=df) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("dim", "df", "delta"), [(100, 4.0, 2.0), (1000, 1.0, 30.0)])
def test_student_t_in_many_dimensions_agrees_with_sampling(dim, df, delta):
    rng = np.random.default_rng(0)
    n = 200_000
    scale = np.sqrt(df / rng.chisquare(df, n))
    x, rest = scale * rng.standard_normal(n), scale**2 * rng.chisquare(dim - 1, n)
    log_ratio = (df + dim) / 2 * (np.log1p(((x - delta) ** 2 + rest) / df) - np.log1p((x * x + rest) / df))
    samples = LOG_2 - np.log1p(np.exp(-log_ratio))
    error = samples.std() / math.sqrt(n)
    # Four standard errors: fails for one seed in 16,000.
    assert student_t_jensen_shannon(delta, dim=dim, df=df) == pytest.approx(samples.mean(), abs=4 * error)


@given(delta=st.floats(1e-3, 1e3), df=st.floats(0.5, 1e6), dim=st.sampled_from([1, 10, 10**6]))
@settings(max_examples=25)
def test_it_grows_with_distance_and_stays_below_log_2(delta, df, dim):
    near, far = (student_t_jensen_shannon(d, dim=dim, df=df) for d in (delta, 1.01 * delta))
    assert 0 < near <= far * (1 + 1e-9)
    assert far <= LOG_2


@pytest.mark.parametrize("delta", [1e-100, 1e-8, 0.5, 5.0])
def test_many_degrees_of_freedom_are_gaussian(delta):
    assert student_t_jensen_shannon(delta, dim=1, df=1e9) == pytest.approx(gaussian_jensen_shannon(delta), rel=1e-8)


@pytest.mark.parametrize("delta", [1e-100, 1e-5])
def test_small_distances_are_an_eighth_of_the_fisher_information(delta):
    df, dim = 3.0, 7
    information = (df + dim) / (df + dim + 2)  # of the location, in the direction of the shift
    assert student_t_jensen_shannon(delta, dim=dim, df=df) == pytest.approx(information * delta**2 / 8, rel=1e-9)
    assert gaussian_jensen_shannon(delta) == pytest.approx(delta**2 / 8, rel=1e-9)


@pytest.mark.parametrize("delta", [1e3, 1e100])
def test_large_distances_reach_log_2(delta):
    assert gaussian_jensen_shannon(delta) == LOG_2
    assert student_t_jensen_shannon(delta, dim=5, df=30.0) == pytest.approx(LOG_2, rel=1e-13)


def test_no_distance_is_exactly_zero():
    assert gaussian_jensen_shannon(0.0) == 0.0
    assert student_t_jensen_shannon(0.0, dim=3, df=4.0) == 0.0


def test_what_is_outside_the_range_is_refused():
    with pytest.raises(DivergenceError, match="delta is -1.0; expected a distance"):
        gaussian_jensen_shannon(-1.0)
    with pytest.raises(DivergenceError, match="df is 0.01; expected degrees of freedom"):
        student_t_jensen_shannon(1.0, dim=3, df=0.01)


def test_a_result_that_cannot_be_vouched_for_is_refused(monkeypatch):
    monkeypatch.setattr("shrinkscope.divergence.jensen_shannon_quadrature.TOLERANCE", 1e-17)  # below rounding
    with pytest.raises(
        DivergenceError, match="the Jensen–Shannon divergence .* is uncertain by .* relative error of 1e-17"
    ):
        student_t_jensen_shannon(1.0, dim=3, df=4.0)
