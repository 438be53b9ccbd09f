"""Gaussian divergences against 60-digit matrices and torch.distributions."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.covariances import between, generator, normal, positive_definite
from references.gaussian import kl as exact
from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import (
    Covariance,
    Dense,
    Diagonal,
    Isotropic,
    Kronecker,
    LowRankPlusDiagonal,
    RandomEigenvectors,
    Rotated,
    Uniform,
)
from shrinkscope.errors import DivergenceError

DIM = 6
seeds = st.integers(0, 2**31)


def structures(seed: int) -> list[Covariance]:
    rng = generator(seed)
    return [
        Isotropic(DIM, 1.7),
        Diagonal(between(0.3, 2.0, DIM, rng=rng)),
        LowRankPlusDiagonal(between(0.3, 2.0, DIM, rng=rng), normal(DIM, 2, rng=rng)),
        Kronecker(positive_definite(3, rng), positive_definite(2, rng)),
        Dense(positive_definite(DIM, rng)),
        Rotated(RandomEigenvectors(DIM, rng), Uniform(low=0.3, high=2.0), scale=1.3),
    ]


@pytest.mark.parametrize(("i", "j"), list(itertools.product(range(6), range(6))))
def test_it_agrees_with_sixty_digits(i, j):
    p, q = structures(1)[i], structures(2)[j]
    delta = normal(DIM, rng=generator(3))
    expected = exact(delta.tolist(), p.dense().tolist(), q.dense().tolist())
    # Condition numbers below 50 and values of order one: 100 ε κ, the stated error.
    assert float(gaussian_kl(delta, p, q)) == pytest.approx(expected, rel=100 * 1.1e-16 * 50)


def test_it_agrees_with_torch_in_larger_dimensions():
    rng = generator(4)
    p, q, delta = positive_definite(300, rng), positive_definite(300, rng), normal(5, 300, rng=rng)
    normals = [torch.distributions.MultivariateNormal(mean, matrix) for mean, matrix in ((delta, p), (0 * delta, q))]
    expected = torch.distributions.kl_divergence(*normals)
    torch.testing.assert_close(gaussian_kl(delta, Dense(p), Dense(q)), expected, rtol=1e-12, atol=0)


def test_the_covariance_of_the_second_distribution_is_inverted():
    # KL(N(0, 4) ‖ N(0, 1)) = ½(4 − 1 − log 4); the paper's Eq. (3) gives the other direction, ½(¼ − 1 + log 4).
    zero = torch.zeros(1)
    assert float(gaussian_kl(zero, Isotropic(1, 4.0), Isotropic(1))) == pytest.approx((3 - math.log(4)) / 2, rel=1e-15)
    assert float(gaussian_kl(zero, Isotropic(1), Isotropic(1, 4.0))) == pytest.approx(
        (math.log(4) - 0.75) / 2, rel=1e-15
    )


def test_with_equal_covariances_it_is_half_the_squared_distance():
    covariance, delta = Diagonal(torch.tensor([1.0, 4.0])), torch.tensor([[3.0, 2.0], [0.0, 0.0]])
    assert gaussian_kl(delta, covariance).tolist() == [5.0, 0.0]


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-8])
def test_nearly_equal_covariances_keep_their_digits(size):
    rng = generator(5)
    matrix = positive_definite(DIM, rng)
    other = matrix + size * positive_definite(DIM, rng)
    zero = torch.zeros(DIM)
    expected = exact([0.0] * DIM, other.tolist(), matrix.tolist())
    # Entries of the difference are exact to ε·entry, that is ε/size of it: no other cancellation.
    got = float(gaussian_kl(zero, Dense(other), Dense(matrix)))
    assert got == pytest.approx(expected, rel=1e-13 + 50 * 1.1e-16 / size * 15)
    ratio = Diagonal(torch.full((DIM,), 1 + size, dtype=torch.float64))
    with_diagonal = exact([0.0] * DIM, ratio.dense().tolist(), torch.eye(DIM).tolist())
    assert float(gaussian_kl(zero, ratio, Isotropic(DIM))) == pytest.approx(with_diagonal, rel=1e-14)


def test_determinants_that_no_float_holds():
    # 1e5 variances of 1e-30 against 1e-28: λ = 0.01 each; the determinants are 10^(−3e6) and 10^(−2.8e6).
    p, q = Isotropic(100_000, 1e-30), Diagonal(torch.full((100_000,), 1e-28, dtype=torch.float64))
    expected = 50_000 * (0.01 - 1 - math.log(0.01))
    assert float(gaussian_kl(torch.zeros(100_000), p, q)) == pytest.approx(expected, rel=1e-12)


@given(seeds)
def test_it_is_never_negative_and_zero_for_equal_distributions(seed):
    for p, q in itertools.product(structures(seed), structures(seed)):
        value = float(gaussian_kl(torch.zeros(DIM), p, q))
        # the isotropic one is the same every time; all others differ with probability one
        same = type(p) is type(q)
        assert value < 1e-25 if same else value > 1e-6


@given(seeds)
def test_invertible_affine_maps_change_nothing(seed):
    rng = generator(seed)
    p, q, delta = positive_definite(4, rng), positive_definite(4, rng), normal(4, rng=rng)
    turn = positive_definite(4, rng) @ torch.linalg.qr(normal(4, 4, rng=rng)).Q
    moved = gaussian_kl(turn @ delta, Dense(turn @ p @ turn.mT), Dense(turn @ q @ turn.mT))
    # The map has a condition number below 15, the covariances below 15³: ε·3375·100 = 4e-11.
    torch.testing.assert_close(moved, gaussian_kl(delta, Dense(p), Dense(q)), rtol=1e-10, atol=0)


@given(seeds)
def test_independent_blocks_add_up(seed):
    rng = generator(seed)
    p, q = [positive_definite(n, rng) for n in (2, 3)], [positive_definite(n, rng) for n in (2, 3)]
    delta = normal(5, rng=rng)
    parts = [gaussian_kl(d, Dense(a), Dense(b)) for d, a, b in zip(delta.split([2, 3]), p, q, strict=True)]
    whole = gaussian_kl(delta, Dense(torch.block_diag(*p)), Dense(torch.block_diag(*q)))
    torch.testing.assert_close(whole, parts[0] + parts[1], rtol=1e-11, atol=0)


def test_it_is_differentiable_in_the_difference():
    p, q = structures(1)[4], structures(2)[4]
    delta = normal(3, DIM, rng=generator(6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gaussian_kl(x, p, q), (delta,))


def test_batches_of_any_shape():
    p, q = structures(1)[1], structures(2)[2]
    delta = normal(2, 3, DIM, rng=generator(7))
    got = gaussian_kl(delta, p, q)
    assert got.shape == (2, 3)
    assert float(got[1, 2]) == pytest.approx(float(gaussian_kl(delta[1, 2], p, q)), rel=1e-14)
    assert gaussian_kl(torch.zeros(0, DIM), p, q).shape == (0,)


def test_a_difference_of_another_length_is_refused():
    with pytest.raises(DivergenceError, match=r"shape \(5,\) does not fit a covariance of dimension 6"):
        gaussian_kl(torch.zeros(5), Isotropic(6))
