"""Divergences of Student-t laws against their definitions, and which pairs have none."""

import math

import mpmath
import pytest
import torch
from scipy import stats

from references import integrals, optimal_transport
from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence import (
    MultivariateGaussian,
    MultivariateStudentT,
    bhattacharyya,
    chi_squared,
    general_student_t_kl,
    hellinger,
    jensen_shannon,
    kl,
    renyi,
    student_t_kl,
    total_variation,
    wasserstein2,
)
from shrinkscope.divergence.covariance import Covariance, Dense, Diagonal, Isotropic
from shrinkscope.errors import DivergenceError


def shifted(delta: float, dim: int, df: float) -> tuple[MultivariateStudentT, MultivariateStudentT]:
    """Two laws with a common scale that is not the identity, and whose Mahalanobis distance is delta."""
    scale = Diagonal(between(0.3, 3.0, dim, rng=generator(dim)))
    shift = normal(dim, rng=generator(dim + 1))
    shift *= delta / float(scale.quadratic(shift)) ** 0.5
    return MultivariateStudentT(shift, scale, df), MultivariateStudentT(0 * shift, scale, df)


def on_the_line(scale_p: float, scale_q: float, df_p: float, df_q: float) -> list[MultivariateStudentT]:
    places = torch.tensor([[0.0], [1.5]], dtype=torch.float64)
    laws = zip(places, (scale_p, scale_q), (df_p, df_q), strict=True)
    return [MultivariateStudentT(place, Isotropic(1, scale), df) for place, scale, df in laws]


@pytest.mark.parametrize("df", [0.4, 1.0, 5.0])
@pytest.mark.parametrize("delta", [0.1, 3.0])
def test_on_the_line_all_agree_with_their_definitions(df, delta):
    p, q = shifted(delta, 1, df)
    densities = integrals.student_t(0.0, 1.0, df), integrals.student_t(delta, 1.0, df)
    breaks = [-delta, -2, 0, delta / 2, delta, delta + 2, 2 * delta]
    direct = {
        name: integrals.on_the_line(integrand, *densities, breaks, df=df)
        for name, integrand in integrals.DIVERGENCES.items()
    }
    # Panels of the reference: 1e-11 or so.
    assert kl(p, q).value == pytest.approx(direct["kl"], rel=1e-9)
    assert total_variation(p, q).value == pytest.approx(direct["total_variation"], rel=1e-9)
    assert chi_squared(p, q).value == pytest.approx(direct["chi_squared"], rel=1e-9)
    assert hellinger(p, q).value ** 2 == pytest.approx(direct["squared_hellinger"], rel=1e-9)
    assert bhattacharyya(p, q).value == pytest.approx(-math.log1p(-direct["squared_hellinger"]), rel=1e-9)
    assert jensen_shannon(p, q).value == pytest.approx(direct["jensen_shannon"], rel=1e-9)
    assert renyi(p, q, 2.0).value == pytest.approx(math.log1p(direct["chi_squared"]), rel=1e-9)


@pytest.mark.parametrize(("dim", "df", "delta"), [(2, 4.0, 1.0), (10, 4.0, 0.3), (30, 8.0, 3.0)])
def test_in_space_all_agree_with_their_definitions(dim, df, delta):
    p, q = shifted(delta, dim, df)
    direct = {name: integrals.shifted_student_t(name, delta, dim, df) for name in integrals.SPACE}
    # The panels of the reference leave up to 2e-10.
    assert total_variation(p, q).value == pytest.approx(direct["total_variation"], rel=1e-9)
    assert hellinger(p, q).value ** 2 == pytest.approx(direct["squared_hellinger"], rel=1e-9)
    assert chi_squared(p, q).value == pytest.approx(direct["chi_squared"], rel=1e-9)
    assert jensen_shannon(p, q).value == pytest.approx(direct["jensen_shannon"], rel=1e-9)


@pytest.mark.parametrize("df", [0.1, 4.0, 1e3, 1e9])
@pytest.mark.parametrize("delta", [1e-12, 1e-3, 1.0, 50.0])
def test_total_variation_keeps_its_digits(df, delta):
    p, q = (MultivariateStudentT(torch.tensor([x], dtype=torch.float64), Isotropic(1), df) for x in (0.0, delta))
    with mpmath.workdps(40):
        share = mpmath.mpf(delta) ** 2 / 4 / (mpmath.mpf(df) + mpmath.mpf(delta) ** 2 / 4)
        expected = float(mpmath.betainc(0.5, mpmath.mpf(df) / 2, 0, share, regularized=True))
    # The argument of the incomplete beta function is good to ε, and at df = 1e9 its slope is 1e9 ε relative at most.
    assert total_variation(p, q).value == pytest.approx(expected, rel=1e-12)


def test_divergences_are_the_functions_of_the_package():
    p, q = shifted(2.0, 5, 4.0)
    assert kl(p, q).value == pytest.approx(float(student_t_kl(2.0, dim=5, df=4.0)), rel=1e-13)
    rng = generator(0)
    scales = [Dense(positive_definite(3, rng)) for _ in range(2)]
    a, b = normal(2, 3, rng=rng)
    t, u = MultivariateStudentT(a, scales[0], 4.0), MultivariateStudentT(b, scales[1], 7.0)
    g = MultivariateGaussian(b, scales[1])
    assert kl(t, u).value == float(general_student_t_kl(a - b, *scales, df_p=4.0, df_q=7.0))
    assert kl(t, g).value == float(general_student_t_kl(a - b, *scales, df_p=4.0, df_q=math.inf))
    assert kl(g, t).value == float(general_student_t_kl(b - a, *reversed(scales), df_p=math.inf, df_q=4.0))


def test_order_one_is_kl():
    p, q = shifted(2.0, 5, 4.0)
    assert renyi(p, q, 1) == kl(p, q)


@pytest.mark.parametrize("df", [2.5, 6.0])
def test_wasserstein_on_the_line_agrees_with_quantiles(df):
    p, q = on_the_line(0.7, 2.0, df, df)
    laws = [stats.t(df, loc=place, scale=scale**0.5) for place, scale in ((0.0, 0.7), (1.5, 2.0))]
    expected = optimal_transport.on_the_line([law.ppf for law in laws], [law.isf for law in laws])
    # At df = 2.5 the quantiles beyond the levels of the reference carry about e^(−60·0.2) of the variance.
    assert wasserstein2(p, q).value == pytest.approx(expected, rel=1e-5 if df < 3 else 1e-9)


def test_wasserstein_of_a_shift_is_its_length_and_needs_a_mean_only():
    p, q = shifted(2.0, 5, 1.5)
    assert wasserstein2(p, q).value == pytest.approx(float((p.location - q.location).norm()), rel=1e-15)
    with pytest.raises(DivergenceError, match="df 1 has no mean; expected df > 1"):
        wasserstein2(*shifted(2.0, 5, 1.0))


def test_wasserstein_of_scales_needs_a_variance():
    with pytest.raises(DivergenceError, match="df 2 has no finite variance; expected df > 2"):
        wasserstein2(*on_the_line(1.0, 2.0, 2.0, 2.0))


def test_wasserstein_needs_equal_degrees_of_freedom():
    with pytest.raises(DivergenceError, match="Student-t laws with 4 and 5 degrees of freedom has no closed form"):
        wasserstein2(*on_the_line(1.0, 1.0, 4.0, 5.0))


@pytest.mark.parametrize("laws", [(1.0, 1.1, 4.0, 4.0), (1.0, 1.0, 4.0, 5.0)])
@pytest.mark.parametrize("divergence", [total_variation, chi_squared, hellinger, jensen_shannon])
def test_different_scales_or_tails_have_no_exact_form(divergence, laws):
    with pytest.raises(DivergenceError, match="with different scales or degrees of freedom .* has no exact form"):
        divergence(*on_the_line(*laws))


def test_a_chi_squared_beyond_the_largest_number_is_refused():
    with pytest.raises(DivergenceError, match="more than the largest float64"):
        chi_squared(*shifted(50.0, 500, 4.0))


def test_scales_are_compared_by_value(monkeypatch):
    p, q = shifted(1.0, 3, 4.0)
    copy: Covariance = Diagonal(q.scale.diagonal().clone())
    assert jensen_shannon(p, MultivariateStudentT(q.location, copy, 4.0)) == jensen_shannon(p, q)
