"""What holds for every pair of distributions: signs, symmetry, order among the divergences, zero for equal ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence import (
    Distribution,
    Divergence,
    MultivariateGaussian,
    MultivariateStudentT,
    UniformBox,
    bhattacharyya,
    chi_squared,
    hellinger,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
    wasserstein2,
)
from shrinkscope.divergence.covariance import Dense
from shrinkscope.errors import DivergenceError

ALL = [kl, total_variation, chi_squared, bhattacharyya, hellinger, jensen_shannon, wasserstein2]
SYMMETRIC = [total_variation, bhattacharyya, hellinger, jensen_shannon, wasserstein2]

seeds = st.integers(0, 2**31)
sizes = st.floats(1e-3, 10.0)


def pairs(seed: int, size: float) -> list[tuple[Distribution, Distribution]]:
    """Three families, both laws of equal shape; and boxes of which one may lie in the other."""
    rng = generator(seed)
    dim = 1 + seed % 3
    scale, shift = Dense(positive_definite(dim, rng)), size * normal(dim, rng=rng)
    zero, df = torch.zeros_like(shift), 0.5 + seed % 10
    wide = shift.abs() + between(0.5, 2.0, dim, rng=rng)
    return [
        (MultivariateGaussian(shift, scale), MultivariateGaussian(zero, scale)),
        (MultivariateStudentT(shift, scale, df), MultivariateStudentT(zero, scale, df)),
        (UniformBox(shift, 1.0), UniformBox(zero, 1.0)),
        (UniformBox(shift, 0.5), UniformBox(zero, wide)),
    ]


def has_mean(p: Distribution) -> bool:
    return not isinstance(p, MultivariateStudentT) or p.df > 1


@given(seed=seeds, size=sizes)
@settings(max_examples=30)
def test_they_are_ordered_as_theory_says(seed, size):
    for p, q in pairs(seed, size):
        divergence, variation, h2 = kl(p, q).value, total_variation(p, q).value, hellinger(p, q).value ** 2
        js, distance = jensen_shannon(p, q).value, bhattacharyya(p, q).value
        slack = 1 + 1e-9  # 1e-10 is promised for the Student-t quadratures
        assert 0 <= variation <= slack
        assert h2 <= variation * slack  # Le Cam
        assert variation <= math.sqrt(h2 * (2 - h2)) * slack
        assert 2 * variation**2 <= divergence * slack  # Pinsker
        assert 2 * distance <= divergence * slack  # Rényi divergences grow with the order
        assert js <= min(math.log(2), variation * math.log(2) * slack)  # Lin, Theorem 3
        assert variation**2 / 2 <= js * slack  # Pinsker towards the middle law, whose total variation is half as large
        log_chi_squared = renyi(p, q, 2.0).value
        assert divergence <= log_chi_squared * slack
        if log_chi_squared < 700 or log_chi_squared == math.inf:
            assert math.log1p(chi_squared(p, q).value) == pytest.approx(log_chi_squared, rel=1e-9)


@given(seed=seeds, size=sizes, orders=st.tuples(st.floats(0.05, 5.0), st.floats(0.05, 5.0)))
@settings(max_examples=30)
def test_renyi_divergences_grow_with_the_order(seed, size, orders):
    low, high = sorted(orders)
    for p, q in pairs(seed, size):
        assert 0 <= renyi(p, q, low).value <= renyi(p, q, high).value * (1 + 1e-9)


@given(seed=seeds, size=sizes)
@settings(max_examples=20)
def test_the_symmetric_ones_are_symmetric(seed, size):
    for p, q in pairs(seed, size):
        for divergence in SYMMETRIC:
            if divergence is not wasserstein2 or has_mean(p):
                assert divergence(p, q).value == pytest.approx(divergence(q, p).value, rel=2e-10)
        both = [renyi(p, q, 0.3).value / 0.3, renyi(q, p, 0.7).value / 0.7]  # skew symmetry
        assert both[0] == pytest.approx(both[1], rel=2e-10)


@given(seed=seeds, size=sizes)
@settings(max_examples=20)
def test_they_vanish_for_equal_laws_and_only_for_them(seed, size):
    for p, q in pairs(seed, size):
        for divergence in ALL:
            if divergence is wasserstein2 and not has_mean(p):
                continue
            assert divergence(q, q).value == 0.0, divergence
            if divergence is not chi_squared or renyi(p, q, 2.0).value < 700:
                assert divergence(p, q).value > 0.0, divergence
        assert renyi(q, q, 0.5).value == renyi(q, q, 3.0).value == 0.0


@given(seed=seeds, size=sizes, factor=st.floats(1e-3, 1e3))
@settings(max_examples=20)
def test_a_change_of_units_changes_the_wasserstein_distance_alone(seed, size, factor):
    rng = generator(seed)
    matrix, shift = positive_definite(2, rng), size * normal(2, rng=rng)
    zero = torch.zeros_like(shift)
    here, there = (
        (
            MultivariateStudentT(f * shift, Dense(f * f * matrix), 3.0),
            MultivariateStudentT(zero, Dense(f * f * matrix), 3.0),
        )
        for f in (1.0, factor)
    )
    for divergence in (kl, total_variation, bhattacharyya, jensen_shannon):
        assert divergence(*there).value == pytest.approx(divergence(*here).value, rel=1e-9)
    assert wasserstein2(*there).value == pytest.approx(factor * wasserstein2(*here).value, rel=1e-12)


@pytest.mark.parametrize("divergence", ALL, ids=lambda divergence: divergence.name)
def test_every_divergence_says_which_pairs_it_knows(divergence: Divergence):
    p, q = MultivariateGaussian(torch.zeros(1), Dense(torch.eye(1))), UniformBox(torch.zeros(1), 1.0)
    with pytest.raises(
        DivergenceError, match="no .* for MultivariateGaussian and UniformBox; known: .*UniformBox–UniformBox"
    ):
        divergence(p, q)


def test_an_unknown_pair_of_renyi_is_named_too():
    p, q = MultivariateGaussian(torch.zeros(1), Dense(torch.eye(1))), UniformBox(torch.zeros(1), 1.0)
    with pytest.raises(DivergenceError, match="no renyi for MultivariateGaussian and UniformBox"):
        renyi(p, q, 2.0)
