"""Eq. (3): printed with the roles of the covariances exchanged."""

import pytest
import torch

from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence.covariance import Dense, Isotropic
from shrinkscope.errors import DivergenceError
from shrinkscope.theory import equation_3


def printed(delta, first, second):
    """Eq. (3), letter by letter."""
    logarithm = torch.logdet(first) - torch.logdet(second)
    inverse = torch.linalg.inv(first)
    return float(logarithm + torch.trace(inverse @ second) + delta @ inverse @ delta - len(delta)) / 2


def divergence(delta, first, second):
    """KL(P_ω‖P_ω̃) by torch.distributions."""
    p = torch.distributions.MultivariateNormal(delta, first)
    q = torch.distributions.MultivariateNormal(torch.zeros_like(delta), second)
    return float(torch.distributions.kl_divergence(p, q))


@pytest.mark.parametrize("seed", range(20))
def test_both_forms_are_what_they_say(seed):
    rng = generator(seed)
    delta, first, second = normal(4, rng=rng), positive_definite(4, rng), positive_definite(4, rng)
    published = equation_3.as_published(delta, Dense(first), Dense(second))
    corrected = equation_3.corrected(delta, Dense(first), Dense(second))
    # Condition numbers of 15: rounding of the references is below 1e-13.
    assert published.value == pytest.approx(printed(delta, first, second), rel=1e-11)
    assert corrected.value == pytest.approx(divergence(delta, first, second), rel=1e-11)
    assert published.value == pytest.approx(divergence(-delta, second, first), rel=1e-11)  # the other direction
    assert published.assumptions_hold is False


def test_the_printed_value_is_not_the_divergence():
    zero, wide, narrow = torch.zeros(1, dtype=torch.float64), Isotropic(1, 4.0), Isotropic(1, 1.0)
    measured = divergence(zero, wide.dense(), narrow.dense())
    assert equation_3.as_published(zero, wide, narrow).violated(measured)  # 0.318 for 0.807
    assert not equation_3.corrected(zero, wide, narrow).violated(measured, tolerance=1e-12)


def test_equal_covariances_make_the_two_agree():
    delta, covariance = normal(3, rng=generator(1)), Dense(positive_definite(3, generator(2)))
    published, corrected = (f(delta, covariance, covariance) for f in (equation_3.as_published, equation_3.corrected))
    assert published.value == corrected.value
    assert published.assumptions_hold
    assert corrected.assumptions_hold


def test_unequal_sizes_are_refused():
    with pytest.raises(DivergenceError, match="dimension"):
        equation_3.corrected(torch.zeros(2), Isotropic(2), Isotropic(3))
