"""Divergences of two Gaussians of every structure, against 60-digit matrices and integrals of the densities."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references import gaussian, gaussian_renyi, integrals, optimal_transport
from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence import (
    MultivariateGaussian,
    bhattacharyya,
    chi_squared,
    hellinger,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
    wasserstein2,
)
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
from shrinkscope.divergence.gaussian_pairs import same_matrix
from shrinkscope.errors import DivergenceError

DIM = 6
ORDERS = [0.1, 0.5, 0.999, 1.2, 2.0, 6.0]


def structures(seed: int) -> list[Covariance]:
    """Not too different from one another, so that orders above 1 have finite values as well as infinite ones."""
    rng = generator(seed)
    return [
        Isotropic(DIM, 1.2),
        Diagonal(between(0.8, 1.5, DIM, rng=rng)),
        LowRankPlusDiagonal(between(0.8, 1.2, DIM, rng=rng), 0.3 * normal(DIM, 2, rng=rng)),
        Kronecker(positive_definite(3, rng, 0.9, 1.2), positive_definite(2, rng, 0.9, 1.2)),
        Dense(positive_definite(DIM, rng, 0.8, 1.5)),
        Rotated(RandomEigenvectors(DIM, rng), Uniform(low=0.8, high=1.5)),
    ]


def pair(p: Covariance, q: Covariance) -> tuple[MultivariateGaussian, MultivariateGaussian]:
    first, second = normal(2, p.dim, rng=generator(3))
    return MultivariateGaussian(first, p), MultivariateGaussian(second, q)


def on_the_line(variance_p: float, variance_q: float) -> tuple[MultivariateGaussian, MultivariateGaussian]:
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    return MultivariateGaussian(zero, Isotropic(1, variance_p)), MultivariateGaussian(one, Isotropic(1, variance_q))


@pytest.mark.parametrize(("i", "j"), list(itertools.product(range(6), range(6))))
def test_every_pair_of_structures_agrees_with_sixty_digits(i, j):
    p, q = pair(structures(1)[i], structures(2)[j])
    delta = (p.location - q.location).tolist()
    matrices = p.covariance.dense().tolist(), q.covariance.dense().tolist()
    # Condition numbers below 5; the shape term loses a factor 1/order, here at most 10, and 1/|1 − order·λ| above 1.
    assert kl(p, q).value == pytest.approx(gaussian.kl(delta, *matrices), rel=1e-12)
    for order in ORDERS:
        assert renyi(p, q, order).value == pytest.approx(gaussian_renyi.renyi(order, delta, *matrices), rel=1e-11), (
            order
        )
    spread = optimal_transport.squared_bures(*matrices)
    expected = math.sqrt(sum(x * x for x in delta) + spread)
    assert wasserstein2(p, q).value == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("variance_p", "variance_q"), [(1.0, 1.0), (0.7, 1.3), (1.9, 1.1)])
def test_on_the_line_all_agree_with_their_definitions(variance_p, variance_q):
    p, q = on_the_line(variance_p, variance_q)
    densities = integrals.gaussian(0.0, variance_p), integrals.gaussian(1.0, variance_q)
    direct = {
        name: integrals.on_the_line(integrals.DIVERGENCES[name], *densities, [-9, -4, 0, 0.5, 1, 5, 10], df=20.0)
        for name in ("kl", "chi_squared", "squared_hellinger")
    }
    # Panels of the reference: 1e-12 or so.
    assert kl(p, q).value == pytest.approx(direct["kl"], rel=1e-10)
    assert chi_squared(p, q).value == pytest.approx(direct["chi_squared"], rel=1e-10)
    assert hellinger(p, q).value ** 2 == pytest.approx(direct["squared_hellinger"], rel=1e-10)
    assert bhattacharyya(p, q).value == pytest.approx(-math.log1p(-direct["squared_hellinger"]), rel=1e-10)


@pytest.mark.parametrize("distance", [0.01, 1.0, 6.0])
def test_total_variation_and_jensen_shannon_depend_on_the_distance_alone(distance):
    densities = integrals.gaussian(0.0, 1.0), integrals.gaussian(distance, 1.0)
    breaks = [-9, -4, 0, distance / 2, distance, distance + 5, distance + 9]
    names = ("total_variation", "jensen_shannon")
    expected = [integrals.on_the_line(integrals.DIVERGENCES[n], *densities, breaks, df=20.0) for n in names]
    for covariance in structures(4):
        shift = normal(DIM, rng=generator(5))
        shift *= distance / float(covariance.quadratic(shift)) ** 0.5
        p, q = MultivariateGaussian(shift, covariance), MultivariateGaussian(0 * shift, covariance)
        assert total_variation(p, q).value == pytest.approx(expected[0], rel=1e-10)
        assert jensen_shannon(p, q).value == pytest.approx(expected[1], rel=1e-10)


def test_equal_covariances_give_the_textbook_values():
    p, q = on_the_line(0.25, 0.25)  # δ = 2
    assert kl(p, q).value == pytest.approx(2.0, rel=1e-15)
    assert renyi(p, q, 3.0).value == pytest.approx(6.0, rel=1e-15)
    assert chi_squared(p, q).value == pytest.approx(math.expm1(4.0), rel=1e-15)
    assert total_variation(p, q).value == pytest.approx(0.6826894921370859, rel=1e-15)  # within one deviation
    assert bhattacharyya(p, q).value == pytest.approx(0.5, rel=1e-15)
    assert wasserstein2(p, q).value == 1.0


def test_units_and_status():
    p, q = on_the_line(1.0, 1.0)
    units = {divergence(p, q).unit for divergence in (kl, bhattacharyya, jensen_shannon)} | {renyi(p, q, 2.0).unit}
    assert units == {"nats"}
    assert (total_variation(p, q).unit, wasserstein2(p, q).unit) == ("probability", "weight")
    assert {divergence(p, q).status for divergence in (kl, total_variation, hellinger, chi_squared)} == {"exact"}


@pytest.mark.parametrize("order", [0.5, 1 + 1e-9, 3.0])
@pytest.mark.parametrize("change", [1e-4, 1e-7])
def test_nearly_equal_covariances_keep_their_digits(order, change):
    variances = between(0.5, 2.0, 4, rng=generator(6))
    nearby = variances * (1 + change * normal(4, rng=generator(7)))
    zero = torch.zeros(4, dtype=torch.float64)
    p, q = MultivariateGaussian(zero, Diagonal(nearby)), MultivariateGaussian(zero, Diagonal(variances))
    expected = gaussian_renyi.renyi(order, zero.tolist(), torch.diag(nearby).tolist(), torch.diag(variances).tolist())
    # The variances themselves are good to ε, their differences to ε/change.
    assert renyi(p, q, order).value == pytest.approx(expected, rel=1e-15 / change + 1e-12)


def test_order_one_is_kl():
    p, q = pair(*structures(1)[1:3])
    assert renyi(p, q, 1.0) == kl(p, q)
    assert renyi(p, q, 1.0).value == pytest.approx(renyi(p, q, 1 + 1e-9).value, rel=1e-7)


def test_it_is_infinite_where_the_first_law_has_heavier_tails_than_the_order_allows():
    p, q = on_the_line(2.0, 1.0)
    assert renyi(p, q, 1.9).value < math.inf
    assert renyi(p, q, 2.1).value == math.inf
    assert chi_squared(*on_the_line(2.5, 1.0)).value == math.inf


def test_orders_too_close_to_the_edge_are_refused():
    p, q = on_the_line(2.0, 1.0)
    with pytest.raises(
        DivergenceError, match="order 2 is within 1e-08 of the largest order for which the divergence is"
    ):
        renyi(p, q, 2.0)


def test_low_rank_covariances_have_every_order_below_one_in_any_dimension_and_all_orders_up_to_the_dense_limit():
    rng = generator(8)
    big, small = (
        [LowRankPlusDiagonal(between(0.9, 1.1, n, rng=rng), 0.01 * normal(n, 2, rng=rng)) for _ in range(2)]
        for n in (5000, 40)
    )
    assert 0 < renyi(*pair(*big), 0.5).value < math.inf
    assert 0 < renyi(*pair(*small), 1.5).value < math.inf
    with pytest.raises(DivergenceError, match="orders above 1 need the eigenvalues of .* up to dimension 4096"):
        renyi(*pair(*big), 1.5)


@pytest.mark.parametrize("order", [0.0, -1.0, math.inf, math.nan])
def test_the_order_must_be_positive_and_finite(order):
    with pytest.raises(DivergenceError, match=f"order is {order}; expected a positive finite order"):
        renyi(*on_the_line(1.0, 1.0), order)


def test_a_chi_squared_beyond_the_largest_number_is_refused():
    p, q = on_the_line(1e-3, 1e-3)
    with pytest.raises(DivergenceError, match=r"χ² is e\^1000, more than the largest float64; .* renyi\(p, q, 2\)"):
        chi_squared(p, q)
    assert renyi(p, q, 2.0).value == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("divergence", "name"), [(total_variation, "total variation"), (jensen_shannon, "Jensen–Shannon divergence")]
)
def test_unequal_covariances_have_no_closed_form(divergence, name):
    with pytest.raises(
        DivergenceError, match=f"the {name} of two Gaussians with different covariances has no closed form"
    ):
        divergence(*on_the_line(1.0, 1.1))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20)
def test_equal_matrices_are_seen_and_different_ones_are_not(seed):
    matrix = positive_definite(3, generator(seed))
    assert same_matrix(Dense(matrix), Dense(matrix.clone()))
    assert not same_matrix(Dense(matrix), Dense(matrix * (1 + 1e-14)))
    assert same_matrix(Isotropic(3, 2.0), Diagonal(torch.full((3,), 2.0)))
    rng = generator(seed)
    diagonal, factor = between(0.5, 2.0, 5, rng=rng), normal(5, 2, rng=rng)
    assert same_matrix(LowRankPlusDiagonal(diagonal, factor), LowRankPlusDiagonal(diagonal.clone(), factor.clone()))
