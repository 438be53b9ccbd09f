"""Eq. (4): AP2 implies AP3, with the constants of the second covariance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import Dense, Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.theory import equation_4


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 6), size=st.floats(0, 30))
@settings(max_examples=300)
def test_the_corrected_form_holds_and_is_attained(seed, dim, size):
    rng = generator(seed)
    first, second = Dense(positive_definite(dim, rng)), Dense(positive_definite(dim, rng))
    direction = normal(dim, rng=rng)
    delta = size * direction / direction.norm()
    bound = equation_4.corrected(size**2, first, second)
    assert not bound.violated(float(gaussian_kl(delta, first, second)), tolerance=1e-12 * (1 + bound.value))
    steepest = size * torch.linalg.eigh(second.dense()).eigenvectors[:, 0]
    # 1e-9: eigenvectors of the smallest eigenvalue are exact to the rounding of a well-conditioned matrix.
    assert float(gaussian_kl(steepest, first, second)) == pytest.approx(bound.value, rel=1e-9, abs=1e-12)


def test_the_printed_form_is_violated():
    # P_ω is wide and P_ω̃ narrow: KL(P_ω‖P_ω̃) is 0.807 nats at Δ = 0, and Eq. (4) allows 0.318.
    wide, narrow, zero = Isotropic(1, 4.0), Isotropic(1, 1.0), torch.zeros(1, dtype=torch.float64)
    published = equation_4.as_published(0.0, wide, narrow)
    assert published.violated(float(gaussian_kl(zero, wide, narrow)))
    assert published.assumptions_hold is False
    assert published.value == pytest.approx((math.log(4) + 1 / 4 - 1) / 2, rel=1e-14)


def test_for_equal_covariances_nothing_is_wrong():
    covariance = Dense(positive_definite(3, generator(0)))
    published, corrected = (f(2.0, covariance, covariance) for f in (equation_4.as_published, equation_4.corrected))
    assert published.value == corrected.value == 2.0 * published.constants["λ_max(Σ⁻¹)"] / 2
    assert published.constants["C"] == 0
    assert published.assumptions_hold


def test_a_large_layer_needs_no_vector():
    assert equation_4.corrected(1.0, Isotropic(10**9), Isotropic(10**9)).value == 0.5


@pytest.mark.parametrize("epsilon", [-1.0, math.nan])
def test_nonsense_is_refused(epsilon):
    with pytest.raises(TheoryError, match=r"ε, the squared distance of the weights \(AP2\) is"):
        equation_4.corrected(epsilon, Isotropic(1), Isotropic(1))
