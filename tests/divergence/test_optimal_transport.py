"""Bures distances of every structure against matrix roots of 50 digits."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references import optimal_transport
from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence.covariance import (
    Covariance,
    Dense,
    Diagonal,
    Isotropic,
    Kronecker,
    LowRankPlusDiagonal,
    Orthogonal,
    RandomEigenvectors,
    Rotated,
    Uniform,
)
from shrinkscope.divergence.optimal_transport import squared_bures
from shrinkscope.errors import DivergenceError

DIM = 6


def structures(seed: int, orthogonal: Orthogonal) -> list[Covariance]:
    rng = generator(seed)
    return [
        Isotropic(DIM, 0.5 + seed),
        Diagonal(between(0.3, 2.0, DIM, rng=rng)),
        LowRankPlusDiagonal(between(0.3, 2.0, DIM, rng=rng), normal(DIM, 2, rng=rng)),
        Kronecker(positive_definite(3, rng), positive_definite(2, rng)),
        Dense(positive_definite(DIM, rng)),
        Rotated(orthogonal, Uniform(low=0.3, high=2.0), scale=0.5 + seed),
    ]


@pytest.mark.parametrize(("i", "j"), list(itertools.product(range(6), range(6))))
def test_every_pair_agrees_with_fifty_digits(i, j):
    shared = RandomEigenvectors(DIM, generator(9))
    p, q = structures(1, shared)[i], structures(2, shared)[j]
    expected = optimal_transport.squared_bures(p.dense().tolist(), q.dense().tolist())
    # Roots of matrices of condition numbers below 50 are good to 50 ε, the distances are of order one.
    assert squared_bures(p, q) == pytest.approx(expected, rel=1e-13)


def test_different_rotations_need_dense_matrices_and_agree():
    first, second = (Rotated(RandomEigenvectors(DIM, generator(seed)), Uniform(low=0.3, high=2.0)) for seed in (1, 2))
    expected = optimal_transport.squared_bures(first.dense().tolist(), second.dense().tolist())
    assert squared_bures(first, second) == pytest.approx(expected, rel=1e-13)


def test_kronecker_factors_of_other_sizes_agree():
    rng = generator(3)
    first = Kronecker(positive_definite(3, rng), positive_definite(2, rng))
    second = Kronecker(positive_definite(2, rng), positive_definite(3, rng))
    expected = optimal_transport.squared_bures(first.dense().tolist(), second.dense().tolist())
    assert squared_bures(first, second) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("change", [1e-3, 1e-6])
def test_nearly_equal_matrices_keep_their_digits(change):
    rng = generator(4)
    matrix, direction = positive_definite(DIM, rng), positive_definite(DIM, rng)
    nearby = (matrix + change * direction).tolist()
    expected = optimal_transport.squared_bures(matrix.tolist(), nearby)
    # The trace formula would be off by ε over the value: 3e-11/change² relative. Here √value is good to ε.
    got = squared_bures(Dense(matrix), Dense(torch.tensor(nearby, dtype=torch.float64)))
    assert got == pytest.approx(expected, rel=1e-14 / change + 1e-13)


@given(seed=st.integers(0, 2**31), factor=st.floats(0.1, 10.0))
@settings(max_examples=25)
def test_it_is_symmetric_scales_with_the_variances_and_vanishes_for_equal_ones(seed, factor):
    rng = generator(seed)
    p, q = positive_definite(4, rng), positive_definite(4, rng)
    value = squared_bures(Dense(p), Dense(q))
    assert value == pytest.approx(squared_bures(Dense(q), Dense(p)), rel=1e-12)
    assert squared_bures(Dense(factor * p), Dense(factor * q)) == pytest.approx(factor * value, rel=1e-12)
    # Roots of equal matrices, turned by the identity to a few ε an entry: 40 ε of the root's norm, squared.
    assert squared_bures(Dense(p), Dense(p)) < (40 * torch.finfo(torch.float64).eps) ** 2 * float(p.trace())


def test_structures_work_where_matrices_cannot_be_formed():
    size = 100_000
    variances = between(0.3, 2.0, size, rng=generator(5))
    expected = float((variances.sqrt() - 1.5).square().sum())
    assert squared_bures(Diagonal(variances), Isotropic(size, 2.25)) == pytest.approx(expected, rel=1e-13)


def test_dimensions_must_agree():
    with pytest.raises(DivergenceError, match="covariances of dimensions 2 and 3; expected equal dimensions"):
        squared_bures(Isotropic(2), Isotropic(3))


def test_large_unlike_structures_are_refused():
    low_rank = LowRankPlusDiagonal(torch.ones(5000), torch.ones(5000, 1))
    with pytest.raises(
        DivergenceError, match="have no common structure, .* up to dimension 4096 only; pairs that need"
    ):
        squared_bures(low_rank, Isotropic(5000))
