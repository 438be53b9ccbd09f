"""Corollary 2.6 holds as printed; its sharpened form is attained, and keeps the first order that Pinsker's loses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence import gaussian_kl, student_t_kl
from shrinkscope.divergence.covariance import Dense
from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_2_6
from shrinkscope.theory.constants import squared_norm

FORMS = (corollary_2_6.as_published, corollary_2_6.corrected, corollary_2_6.sharpened)


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 6), size=st.floats(1e-3, 30))
@settings(max_examples=300)
def test_every_form_holds_for_gaussians(seed, dim, size):
    rng = generator(seed)
    a, p, q = size * normal(dim, rng=rng), positive_definite(dim, rng), positive_definite(dim, rng)
    kl = float(gaussian_kl(a, Dense(p), Dense(q)))
    arguments = {"squared_distance": squared_norm(a), "trace_p": float(p.trace()), "trace_q": float(q.trace())}
    values = []
    for form in FORMS:
        assert not form(**arguments).violated(kl, tolerance=1e-12)
        values.append(form(**arguments).value)
    assert values[0] == values[1] <= values[2] * (1 + 1e-9)
    u = torch.linalg.solve((p + q) / 2, a)  # and along one direction, whose variances are smaller than the traces
    along = {"squared_distance": float(u @ a) ** 2, "trace_p": float(u @ p @ u), "trace_q": float(u @ q @ u)}
    assert not corollary_2_6.sharpened(**along).violated(kl, tolerance=1e-12)
    same = corollary_2_6.sharpened_equal_covariance(squared_mahalanobis=float(a @ torch.linalg.solve(p, a)))
    assert not same.violated(float(gaussian_kl(a, Dense(p))), tolerance=1e-12)


@pytest.mark.parametrize("dim", [1, 5, 1000])
@pytest.mark.parametrize("df", [2.5, 4.0, 30.0])
def test_every_form_holds_for_student_t_laws_with_their_covariances(df, dim):
    factor = df / (df - 2)
    for delta in (0.01, 0.3, 2.0, 20.0):
        kl = float(student_t_kl(torch.tensor(delta, dtype=torch.float64), dim=dim, df=df))
        for form in FORMS:
            bound = form(squared_distance=delta**2, trace_p=factor * dim, trace_q=factor * dim)
            assert not bound.violated(kl, tolerance=1e-12)
        assert not corollary_2_6.sharpened_equal_covariance(squared_mahalanobis=delta**2 / factor).violated(kl)


def test_the_printed_form_loses_the_first_order_and_the_dimension():
    # Gaussians with δ = 0.1 in 10⁴ dimensions: KL = 0.005. Printed: 1e-13 of it; along the direction: all but 1/600.
    printed = corollary_2_6.as_published(squared_distance=0.01, trace_p=1e4, trace_q=1e4).value
    sharpened = corollary_2_6.sharpened_equal_covariance(squared_mahalanobis=0.01).value
    assert printed / 0.005 < 1e-10
    assert 0.998 < sharpened / 0.005 < 1


def test_the_printed_form_stops_at_two_nats_and_the_sharpened_one_does_not():
    arguments = {"squared_distance": 1e12, "trace_p": 1.0, "trace_q": 1.0}
    assert corollary_2_6.as_published(**arguments).value < 2
    assert corollary_2_6.sharpened(**arguments).value > 25


@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_the_form_for_equal_covariances_is_two_y_artanh_y(delta):
    y = math.sqrt(delta**2 / (delta**2 + 4))
    value = corollary_2_6.sharpened_equal_covariance(squared_mahalanobis=delta**2).value
    assert value == pytest.approx(2 * y * math.atanh(y), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["squared_distance", "trace_p", "trace_q"])
def test_nonsense_is_refused(form, which):
    arguments = {"squared_distance": 1.0, "trace_p": 1.0, "trace_q": 1.0} | {which: -1.0}
    with pytest.raises(TheoryError, match="is -1.0; expected a number of at least 0"):
        form(**arguments)


def test_a_negative_mahalanobis_distance_is_refused():
    with pytest.raises(TheoryError, match="D² is nan"):
        corollary_2_6.sharpened_equal_covariance(squared_mahalanobis=math.nan)
