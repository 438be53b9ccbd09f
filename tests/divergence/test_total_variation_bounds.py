"""Bounds on the total variation: they hold where it is known exactly, and each is the formula of its source."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from references import integrals
from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence import (
    Distribution,
    MultivariateGaussian,
    MultivariateStudentT,
    UniformBox,
    hellinger,
    kl,
    mean_variance_lower,
    total_variation,
    total_variation_lower,
    total_variation_upper,
)
from shrinkscope.divergence.covariance import Dense, Isotropic
from shrinkscope.divergence.total_variation_bounds import bretagnolle_huber, hellinger_lower, hellinger_upper, pinsker
from shrinkscope.errors import DivergenceError

seeds = st.integers(0, 2**31)


@dataclass(frozen=True, eq=False)
class Stranger(Distribution):
    """A law of which only mean and variance are known."""

    location: Tensor
    variance: float

    @property
    def dim(self) -> int:
        return self.location.numel()

    def mean(self) -> Tensor:
        return self.location

    def total_variance(self) -> float:
        return self.variance


def gaussians(distance: float, dim: int) -> tuple[MultivariateGaussian, MultivariateGaussian]:
    shift = torch.zeros(dim, dtype=torch.float64)
    shift[0] = distance
    return MultivariateGaussian(shift, Isotropic(dim)), MultivariateGaussian(0 * shift, Isotropic(dim))


@pytest.mark.parametrize("divergence", [0.0, 1e-12, 0.3, 1.6, 5.0, 800.0, math.inf])
def test_upper_bounds_from_kl_are_the_formulas(divergence):
    assert pinsker(divergence) == min(1.0, math.sqrt(divergence / 2))
    assert bretagnolle_huber(divergence) == pytest.approx(math.sqrt(1 - math.exp(-divergence)), rel=1e-4)
    assert (bretagnolle_huber(divergence) < pinsker(divergence)) == (1.6 <= divergence < 30)  # then both are 1


@pytest.mark.parametrize("distance", [0.0, 1e-9, 0.5, 1.0])
def test_bounds_from_the_hellinger_distance_meet_at_both_ends(distance):
    assert hellinger_lower(distance) == distance**2
    assert hellinger_upper(distance) == pytest.approx(math.sqrt(1 - (1 - distance**2) ** 2), abs=1e-8)
    assert hellinger_lower(distance) <= hellinger_upper(distance) <= 1


@given(seed=seeds, size=st.floats(1e-3, 30.0), df=st.floats(2.1, 50.0), dim=st.integers(1, 5))
@settings(max_examples=40)
def test_every_bound_holds_for_shifted_laws(seed, size, df, dim):
    rng = generator(seed)
    covariance, shift = Dense(positive_definite(dim, rng)), size * normal(dim, rng=rng)
    zero = torch.zeros_like(shift)
    for p, q in (
        (MultivariateGaussian(shift, covariance), MultivariateGaussian(zero, covariance)),
        (MultivariateStudentT(shift, covariance, df), MultivariateStudentT(zero, covariance, df)),
        (UniformBox(shift, 1.0), UniformBox(zero, 1.0)),
    ):
        exact, distance = total_variation(p, q).value, hellinger(p, q).value
        slack = 1e-9  # a few roundings, and 1e-10 for the Student-t Hellinger distance
        lower, upper = total_variation_lower(p, q).value, total_variation_upper(p, q).value
        assert mean_variance_lower(p, q).value <= lower * (1 + slack)
        assert max(hellinger_lower(distance), lower) <= exact * (1 + slack)
        divergence = kl(p, q).value
        for bound in (upper, pinsker(divergence), bretagnolle_huber(divergence), hellinger_upper(distance)):
            assert exact <= bound * (1 + slack)


@pytest.mark.parametrize(("variance_p", "variance_q", "shift"), [(1.0, 2.0, 0.5), (0.3, 1.0, 2.0), (1.0, 9.0, 0.0)])
def test_unequal_gaussians_are_between_their_bounds(variance_p, variance_q, shift):
    laws = [
        MultivariateGaussian(torch.tensor([place], dtype=torch.float64), Isotropic(1, variance))
        for place, variance in ((0.0, variance_p), (shift, variance_q))
    ]
    densities = integrals.gaussian(0.0, variance_p), integrals.gaussian(shift, variance_q)
    # |p − q| has corners; panels of ¼ leave about 1e−5 of them.
    grid = [index / 4 for index in range(-60, 61)]
    exact = integrals.on_the_line(integrals.DIVERGENCES["total_variation"], *densities, grid, df=20.0)
    lower, upper = total_variation_lower(*laws), total_variation_upper(*laws)
    assert lower.value < exact < upper.value
    assert (lower.status, upper.status, lower.unit, upper.unit) == ("bound", "bound", "probability", "probability")


@pytest.mark.parametrize("df", [3.0, 10.0])
def test_student_t_and_gaussian_are_between_their_bounds(df):
    laws = (
        MultivariateStudentT(torch.zeros(1), Isotropic(1, 2.0), df),
        MultivariateGaussian(torch.ones(1), Isotropic(1)),
    )
    densities = integrals.student_t(0.0, 2.0, df), integrals.gaussian(1.0, 1.0)
    grid = [index / 4 for index in range(-60, 61)]
    exact = integrals.on_the_line(integrals.DIVERGENCES["total_variation"], *densities, grid, df=df)
    assert 0.05 < total_variation_lower(*laws).value < exact < total_variation_upper(*laws).value < 1


def test_the_lemma_of_the_paper_is_its_formula_with_the_covariance_of_student_t():
    p, q = gaussians(2.0, 3)
    assert mean_variance_lower(p, q).value == pytest.approx(4 / (2 * (3 + 3) + 4), rel=1e-15)
    t, u = (MultivariateStudentT(law.location, law.covariance, 4.0) for law in (p, q))
    assert mean_variance_lower(t, u).value == pytest.approx(4 / (2 * (6 + 6) + 4), rel=1e-15)  # 4/(4 − 2) = 2


def test_corollary_2_6_follows():
    p, q = gaussians(2.0, 3)
    assert kl(p, q).value >= 2 * mean_variance_lower(p, q).value ** 2


def test_in_many_dimensions_the_lemma_says_nothing_and_the_best_direction_does():
    p, q = gaussians(3.0, 100_000)
    assert mean_variance_lower(p, q).value < 1e-4
    assert total_variation_lower(p, q).value == pytest.approx(9 / (9 + 4), rel=1e-9)
    t, u = (MultivariateStudentT(law.location, law.covariance, 4.0) for law in (p, q))
    assert total_variation_lower(t, u).value > 0.5


def test_mean_and_variance_are_enough_for_a_lower_bound():
    p, q = Stranger(torch.zeros(2), 1.0), Stranger(torch.ones(2), 4.0)
    assert total_variation_lower(p, q).value == pytest.approx(2 / (2 + 9), rel=1e-12)
    assert mean_variance_lower(p, q).value == pytest.approx(2 / (2 + 10), rel=1e-12)


def test_equal_means_give_no_lower_bound_from_moments():
    p = Stranger(torch.zeros(2), 1.0)
    assert total_variation_lower(p, p).value == 0.0


def test_without_kl_and_hellinger_there_is_no_upper_bound():
    p = Stranger(torch.zeros(2), 1.0)
    with pytest.raises(
        DivergenceError, match="no upper bound .* because neither KL nor Hellinger: no kl for Stranger and"
    ):
        total_variation_upper(p, p)


def test_without_moments_and_hellinger_there_is_no_lower_bound():
    t = MultivariateStudentT(torch.zeros(2), Isotropic(2), 0.5)
    g = MultivariateGaussian(torch.zeros(2), Isotropic(2))
    with pytest.raises(DivergenceError, match="no lower bound .* neither Hellinger nor moments: .* df 0.5 has no mean"):
        total_variation_lower(t, g)


def test_dimensions_must_agree():
    with pytest.raises(DivergenceError, match="dimensions 1 and 2; expected equal ones"):
        mean_variance_lower(Stranger(torch.zeros(1), 1.0), Stranger(torch.zeros(2), 1.0))
    with pytest.raises(DivergenceError, match="total_variation_upper of distributions of dimensions 1 and 2"):
        total_variation_upper(Stranger(torch.zeros(1), 1.0), Stranger(torch.zeros(2), 1.0))
