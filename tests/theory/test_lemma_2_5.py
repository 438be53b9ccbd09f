"""Lemma 2.5 holds as printed for covariances; the sharpened forms hold too, are larger, and one is attained."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student_t

from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence import MultivariateGaussian, total_variation
from shrinkscope.divergence.covariance import Dense, Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.theory import lemma_2_5
from shrinkscope.theory.constants import squared_norm

FORMS = (lemma_2_5.as_published, lemma_2_5.corrected, lemma_2_5.sharpened)


def point_laws(seed: int, count: int, points: int, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random laws on the same few points of the plane: every coupling and every shape of tail can occur."""
    rng = generator(seed)
    places = normal(count, points, dim, rng=rng) ** 3
    weights = [torch.rand(count, points, generator=rng, dtype=torch.float64) ** 4 for _ in range(2)]
    first, second = (w / w.sum(-1, keepdim=True) for w in weights)
    return places, first, second


@pytest.mark.parametrize(("points", "dim"), [(2, 1), (3, 2), (6, 3)])
def test_every_form_holds_on_thousands_of_laws(points, dim):
    places, first, second = point_laws(points, 2000, points, dim)
    means = [torch.einsum("bp,bpd->bd", w, places) for w in (first, second)]
    covariances = [
        torch.einsum("bp,bpd,bpe->bde", w, places - m.unsqueeze(1), places - m.unsqueeze(1))
        for w, m in zip((first, second), means, strict=True)
    ]
    a = means[0] - means[1]
    mean_covariance = sum(covariances) / 2
    mahalanobis = (a * torch.linalg.lstsq(mean_covariance, a.unsqueeze(-1)).solution.squeeze(-1)).sum(-1)
    traces = [c.diagonal(dim1=-2, dim2=-1).sum(-1).tolist() for c in covariances]
    measured = ((first - second).abs().sum(-1) / 2).tolist()
    for square, p, q, d, tv in zip(a.square().sum(-1).tolist(), *traces, mahalanobis.tolist(), measured, strict=True):
        bounds = [form(squared_distance=square, trace_p=p, trace_q=q) for form in FORMS]
        bounds.append(lemma_2_5.sharpened_along_direction(squared_mahalanobis=max(d, 0.0)))
        for bound in bounds:
            assert not bound.violated(tv, tolerance=1e-9)  # two points in one dimension attain it, up to rounding


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 5))
@settings(max_examples=200)
def test_the_sharpened_forms_are_never_below_the_printed_one(seed, dim):
    rng = generator(seed)
    a, p, q = 3 * normal(dim, rng=rng), positive_definite(dim, rng), positive_definite(dim, rng)
    arguments = {"squared_distance": squared_norm(a), "trace_p": float(p.trace()), "trace_q": float(q.trace())}
    published, corrected, sharpened = (form(**arguments).value for form in FORMS)
    along = lemma_2_5.sharpened_along_direction(squared_mahalanobis=float(a @ torch.linalg.solve((p + q) / 2, a)))
    assert published == corrected <= sharpened
    assert published <= along.value * (1 + 1e-12)


def test_the_constant_of_the_sharpened_form_is_the_best():
    # Mass 1 − t lies on 0 in both laws; the rest of P on 3 and that of Q on −1: TV is t, and so is the bound.
    t = 0.3
    mean_p, mean_q = 3 * t, -t
    variance_p, variance_q = 9 * t - mean_p**2, t - mean_q**2
    square = (mean_p - mean_q) ** 2
    bound = lemma_2_5.sharpened(squared_distance=square, trace_p=variance_p, trace_q=variance_q)
    assert bound.value == pytest.approx(t, rel=1e-14)
    assert lemma_2_5.as_published(squared_distance=square, trace_p=variance_p, trace_q=variance_q).value < 0.26


def test_in_a_million_dimensions_the_printed_form_says_nothing_and_the_direction_does():
    dim, delta = 10**6, 2.0
    exact = math.erf(delta / math.sqrt(8))
    published = lemma_2_5.as_published(squared_distance=delta**2, trace_p=dim, trace_q=dim).value
    along = lemma_2_5.sharpened_along_direction(squared_mahalanobis=delta**2).value
    assert exact == pytest.approx(0.683, abs=1e-3)
    assert published == pytest.approx(1e-6, rel=1e-5)
    assert along == 0.5


@pytest.mark.parametrize("delta", [0.01, 1.0, 5.0])
def test_gaussians_of_equal_covariance_satisfy_the_form_along_the_direction(delta):
    shift = torch.tensor([delta, 0.0], dtype=torch.float64)
    covariance = Dense(torch.diag(torch.tensor([1.0, 50.0], dtype=torch.float64)))
    tv = total_variation(MultivariateGaussian(shift, covariance), MultivariateGaussian(0 * shift, covariance)).value
    assert not lemma_2_5.sharpened_along_direction(squared_mahalanobis=delta**2).violated(tv)


def scalar_student_t_total_variation(df: float, delta: float) -> float:
    return float(student_t.cdf(delta / 2, df) - student_t.cdf(-delta / 2, df))


@pytest.mark.parametrize("df", [1.2, 1.5, 1.9])
def test_the_scale_in_place_of_the_covariance_violates_it_where_there_is_no_covariance(df):
    delta = 1e4
    measured = scalar_student_t_total_variation(df, delta)
    assert lemma_2_5.as_published(squared_distance=delta**2, trace_p=1.0, trace_q=1.0).violated(measured)
    right = lemma_2_5.as_published(squared_distance=delta**2, trace_p=math.inf, trace_q=math.inf)
    assert right.value == 0.0
    assert not right.violated(measured)


@pytest.mark.parametrize("df", [2.0, 2.001, 3.0, 4.0, 30.0])
def test_from_two_degrees_of_freedom_on_equal_scales_do_no_harm(df):
    # At df 2, TV = x/√(2 + x²) ≥ x²/(1 + x²) for x = δ/2, as (1 + x²)² ≥ x²(2 + x²); more df concentrate |T| further.
    for delta in (10 ** (k / 10) for k in range(-30, 40)):
        measured = scalar_student_t_total_variation(df, delta)
        assert not lemma_2_5.as_published(squared_distance=delta**2, trace_p=1.0, trace_q=1.0).violated(
            measured, tolerance=1e-12
        )


def test_the_ends_are_right():
    assert lemma_2_5.sharpened(squared_distance=0.0, trace_p=0.0, trace_q=0.0).value == 0.0
    assert lemma_2_5.sharpened(squared_distance=1.0, trace_p=0.0, trace_q=0.0).value == 1.0
    assert lemma_2_5.sharpened(squared_distance=math.inf, trace_p=1.0, trace_q=1.0).value == 1.0
    assert total_variation(*[MultivariateGaussian(torch.zeros(1), Isotropic(1))] * 2).value == 0.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["squared_distance", "trace_p", "trace_q"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_nonsense_is_refused(form, which, value):
    arguments = {"squared_distance": 1.0, "trace_p": 1.0, "trace_q": 1.0} | {which: value}
    with pytest.raises(TheoryError, match="squared distance of the means is|trace of Σ_[PQ] is"):
        form(**arguments)


def test_a_negative_mahalanobis_distance_is_refused():
    with pytest.raises(TheoryError, match="squared Mahalanobis distance D² is -1"):
        lemma_2_5.sharpened_along_direction(squared_mahalanobis=-1.0)
