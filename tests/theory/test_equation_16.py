"""Eq. (16): twice the printed value is what Corollary 2.6 gives, and yet the printed value holds, by a better lemma."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import generator, normal
from shrinkscope.divergence import student_t_kl
from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_2_6, equation_16

FORMS = (equation_16.as_published, equation_16.corrected, equation_16.sharpened)


@given(epsilon=st.floats(1e-6, 1.99), p=st.floats(1e-3, 1e3), q=st.floats(1e-3, 1e3))
@settings(max_examples=300)
def test_the_corrected_form_is_corollary_2_6_solved_and_the_printed_one_is_half(epsilon, p, q):
    published, corrected, sharpened = (form(epsilon=epsilon, trace_p=p, trace_q=q).value for form in FORMS)
    again = corollary_2_6.as_published(squared_distance=corrected, trace_p=p, trace_q=q).value
    assert again == pytest.approx(epsilon, rel=1e-9)
    assert published == corrected / 2
    assert sharpened <= published * (1 + 1e-8)


def test_the_printed_step_does_not_follow_from_corollary_2_6():
    # ‖Δ‖² = 1.5 and traces of 1 satisfy the corollary's inequality for ε = 0.2, and break Eq. (16).
    arguments = {"trace_p": 1.0, "trace_q": 1.0}
    assert corollary_2_6.as_published(squared_distance=1.5, **arguments).value < 0.2
    assert equation_16.as_published(epsilon=0.2, **arguments).value < 1.5
    assert corollary_2_6.sharpened(squared_distance=1.5, **arguments).value > 0.2  # but no such laws exist


@pytest.mark.parametrize(("points", "dim"), [(2, 1), (3, 2), (6, 3)])
def test_every_form_holds_on_thousands_of_laws(points, dim):
    rng = generator(points)
    places = normal(2000, points, dim, rng=rng) ** 3
    first = torch.rand(2000, points, generator=rng, dtype=torch.float64) ** 4
    first = first / first.sum(-1, keepdim=True)
    second = first * torch.exp(normal(2000, points, rng=rng) * torch.rand(2000, 1, generator=rng, dtype=torch.float64))
    second = second / second.sum(-1, keepdim=True)
    means = [torch.einsum("bp,bpd->bd", w, places) for w in (first, second)]
    traces = [
        (w * (places - m.unsqueeze(1)).square().sum(-1)).sum(-1).tolist()
        for w, m in zip((first, second), means, strict=True)
    ]
    divergences = (first * (first / second).log()).sum(-1)
    squares = (means[0] - means[1]).square().sum(-1).tolist()
    assert float((divergences < 2).double().mean()) > 0.9  # else Pinsker's forms would hold by saying nothing
    for kl, square, p, q in zip(divergences.clamp(min=0).tolist(), squares, *traces, strict=True):
        for form in FORMS:
            bound = form(epsilon=kl, trace_p=p, trace_q=q)
            assert not bound.violated(square, tolerance=1e-6 * square + 1e-12)


@pytest.mark.parametrize("df", [2.5, 4.0, 30.0])
@pytest.mark.parametrize("dim", [1, 10, 10**6])
def test_the_form_for_equal_covariances_holds_for_student_t_laws_in_any_dimension(df, dim):
    for delta in (0.01, 0.3, 2.0, 10.0):
        kl = float(student_t_kl(torch.tensor(delta, dtype=torch.float64), dim=dim, df=df))
        bound = equation_16.sharpened_equal_covariance(epsilon=kl, inverse_min=(df - 2) / df)
        assert not bound.violated(delta**2)


def test_for_small_divergences_it_is_that_of_gaussians():
    value = equation_16.sharpened_equal_covariance(epsilon=1e-6, inverse_min=4.0).value
    assert value == pytest.approx(2e-6 / 4.0, rel=1e-5)


@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("epsilon", [2.0, 2.5, 1e9, math.inf])
def test_from_two_nats_on_pinsker_says_nothing(form, epsilon):
    bound = form(epsilon=epsilon, trace_p=1.0, trace_q=1.0)
    assert bound.value == math.inf
    assert bound.assumptions_hold is False


def test_from_two_nats_on_the_sharpened_form_still_speaks():
    assert equation_16.sharpened(epsilon=5.0, trace_p=1.0, trace_q=1.0).value < 200


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["epsilon", "trace_p", "trace_q"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_nonsense_is_refused(form, which, value):
    arguments = {"epsilon": 1.0, "trace_p": 1.0, "trace_q": 1.0} | {which: value}
    with pytest.raises(TheoryError, match="ε, the divergence .* is|the trace of Σ.* is"):
        form(**arguments)


def test_an_impossible_eigenvalue_is_refused():
    with pytest.raises(TheoryError, match="λ_min, the smallest eigenvalue of Σ⁻¹ is 0.0; expected a positive"):
        equation_16.sharpened_equal_covariance(epsilon=1.0, inverse_min=0.0)
