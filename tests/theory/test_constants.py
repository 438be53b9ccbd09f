"""Measured constants: eigenvalues of the inverse covariance, norms, and Lipschitz constants of densities."""

import math

import pytest
import torch
from torch import Tensor

from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence import MultivariateGaussian, MultivariateStudentT, UniformBox
from shrinkscope.divergence.covariance import (
    Covariance,
    Dense,
    Diagonal,
    Isotropic,
    Kronecker,
    LowRankPlusDiagonal,
    RandomEigenvectors,
    Rotated,
)
from shrinkscope.errors import TheoryError
from shrinkscope.theory.constants import density_lipschitz, inverse_extremes, squared_norm


def covariances() -> list[Covariance]:
    rng = generator(0)
    return [
        Isotropic(7, 2.5),
        Diagonal(between(0.1, 4.0, 7, rng=rng)),
        Dense(positive_definite(6, rng)),
        Kronecker(positive_definite(3, rng), positive_definite(4, rng)),
        LowRankPlusDiagonal(between(0.5, 2.0, 9, rng=rng), normal(9, 2, rng=rng)),
        LowRankPlusDiagonal(between(0.5, 2.0, 400, rng=rng), normal(400, 3, rng=rng)),  # by Lanczos iterations
        Rotated(RandomEigenvectors(10, generator(1)), between(0.5, 2.0, 10, rng=rng), scale=3.0),
    ]


@pytest.mark.parametrize("covariance", covariances(), ids=repr)
def test_extremes_are_those_of_the_dense_inverse(covariance):
    expected = torch.linalg.eigvalsh(torch.linalg.inv(covariance.dense()))
    low, high = inverse_extremes(covariance)
    # Condition numbers are below 1e3: rounding of the dense inverse is below 1e-12.
    assert low == pytest.approx(float(expected[0]), rel=1e-9)
    assert high == pytest.approx(float(expected[-1]), rel=1e-9)


def test_extremes_of_a_large_layer_need_no_matrix():
    assert inverse_extremes(Isotropic(10**8, 0.25)) == (4.0, 4.0)


def test_the_norm_is_summed_in_double_precision():
    # In float32 the sum of 2²⁵ ones stops at 2²⁴.
    assert squared_norm(torch.ones(2**25, dtype=torch.float32)) == 2.0**25


def student_t_density(z: Tensor, location: Tensor, matrix: Tensor, df: float) -> Tensor:
    dim = len(location)
    quadratic = (z - location) @ torch.linalg.inv(matrix) @ (z - location)
    log_norm = math.lgamma((df + dim) / 2) - math.lgamma(df / 2) - dim / 2 * math.log(df * math.pi)
    return torch.exp(log_norm - torch.logdet(matrix) / 2 - (df + dim) / 2 * torch.log1p(quadratic / df))


@pytest.mark.parametrize("df", [math.inf, 1.5, 4.0])
@pytest.mark.parametrize("dim", [1, 2])
def test_the_lipschitz_constant_is_the_steepest_gradient(dim, df):
    matrix = positive_definite(dim, generator(dim))
    zero = torch.zeros(dim, dtype=torch.float64)
    line = torch.linspace(-4, 4, 161, dtype=torch.float64)
    points = torch.cartesian_prod(*[line] * dim).reshape(-1, dim)

    if math.isinf(df):
        law = MultivariateGaussian(zero, Dense(matrix))
        values = torch.distributions.MultivariateNormal(zero, matrix).log_prob(points).exp()
        slopes = values * (points @ torch.linalg.inv(matrix)).norm(dim=-1)
    else:
        law = MultivariateStudentT(zero, Dense(matrix), df)
        slope = torch.func.grad(lambda location, z: student_t_density(z, location, matrix, df))
        slopes = torch.vmap(slope, in_dims=(None, 0))(zero, points).norm(dim=-1)
    # The grid of spacing 0.05 misses the maximum by less than a second-order term: (0.05/0.4)²/2 of the value.
    assert density_lipschitz(law) == pytest.approx(float(slopes.max()), rel=1e-2)
    assert density_lipschitz(law) >= float(slopes.max()) * (1 - 1e-12)


def test_a_density_of_unknown_slope_and_one_beyond_floats_are_refused():
    with pytest.raises(TheoryError, match="Lipschitz constant of UniformBox is unknown; expected a Gaussian"):
        density_lipschitz(UniformBox(torch.zeros(1), 1.0))
    with pytest.raises(TheoryError, match=r"density in 1000 dimensions is exp\(-919.*use fewer dimensions"):
        density_lipschitz(MultivariateGaussian(torch.zeros(1000), Isotropic(1000)))
