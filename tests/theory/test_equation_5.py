"""Eq. (5): AP3 implies AP2 where the eigenvalues of Σ are at most 1, not at least."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence.covariance import Dense, Diagonal, Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.theory import equation_5
from shrinkscope.theory.constants import squared_norm


def test_the_printed_form_is_violated_where_its_assumption_holds():
    # Σ = 4I: all eigenvalues are at least 1, as printed, and ΔᵀΣ⁻¹Δ is a quarter of ‖Δ‖².
    covariance, delta = Isotropic(3, 4.0), torch.ones(3, dtype=torch.float64)
    bound = equation_5.as_published(float(covariance.quadratic(delta)), covariance)
    assert bound.assumptions_hold
    assert bound.violated(squared_norm(delta))


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 6))
@settings(max_examples=200)
def test_the_printed_inequality_fails_for_every_sigma_above_one_and_holds_for_every_sigma_below(seed, dim):
    rng = generator(seed)
    delta = normal(dim, rng=rng)
    above, below = Diagonal(between(1.01, 9.0, dim, rng=rng)), Diagonal(between(0.01, 1.0, dim, rng=rng))
    assert equation_5.as_published(float(above.quadratic(delta)), above).violated(squared_norm(delta))
    assert not equation_5.as_published(float(below.quadratic(delta)), below).violated(squared_norm(delta))


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 6))
@settings(max_examples=300)
def test_the_corrected_form_holds_for_every_sigma_and_is_attained(seed, dim):
    rng = generator(seed)
    covariance, delta = Dense(positive_definite(dim, rng)), normal(dim, rng=rng)
    bound = equation_5.corrected(float(covariance.quadratic(delta)), covariance)
    assert not bound.violated(squared_norm(delta), tolerance=1e-12 * bound.value)
    flattest = torch.linalg.eigh(covariance.dense()).eigenvectors[:, -1]
    assert equation_5.corrected(float(covariance.quadratic(flattest)), covariance).value == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("form", [equation_5.as_published, equation_5.corrected])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_nonsense_is_refused(form, value):
    with pytest.raises(TheoryError, match="ΔᵀΣ⁻¹Δ is"):
        form(value, Isotropic(2))
