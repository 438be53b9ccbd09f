"""The paper's Σ = βVΛVᵀ and its spectra."""

import math

import pytest
import torch

from shrinkscope.divergence.covariance import Equal, Isotropic, PowerLaw, RandomEigenvectors, Rotated, Uniform
from shrinkscope.errors import DivergenceError


def orthogonal(dim: int, seed: int = 0) -> RandomEigenvectors:
    return RandomEigenvectors(dim, torch.Generator().manual_seed(seed))


def test_it_is_the_product_of_its_parts():
    rotation, spectrum = orthogonal(7), torch.linspace(0.5, 3.0, 7, dtype=torch.float64)
    expected = 0.25 * rotation.matrix @ torch.diag(spectrum) @ rotation.matrix.mT
    torch.testing.assert_close(Rotated(rotation, spectrum, scale=0.25).dense(), expected)


def test_with_equal_eigenvalues_the_rotation_changes_nothing():
    x = torch.randn(5, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(
        Rotated(orthogonal(9), Equal(value=2.0), scale=1.5).quadratic(x), Isotropic(9, 3.0).quadratic(x)
    )


@pytest.mark.parametrize(
    ("spectrum", "expected"),
    [
        (Equal(value=2.0), [2.0, 2.0, 2.0, 2.0]),
        (Uniform(low=1.0, high=3.0), [1.25, 1.75, 2.25, 2.75]),
        (PowerLaw(largest=6.0, exponent=1.0), [6.0, 3.0, 2.0, 1.5]),
        (torch.tensor([4.0, 1.0, 2.0, 3.0]), [4.0, 1.0, 2.0, 3.0]),
    ],
)
def test_spectra(spectrum, expected):
    # the quadratic form of V's i-th column is 1/(βλᵢ)
    rotation = orthogonal(4)
    covariance = Rotated(rotation, spectrum, scale=0.5)
    got = covariance.quadratic(rotation.matrix.mT)
    torch.testing.assert_close(got, 2 / torch.tensor(expected, dtype=torch.float64))
    assert math.isclose(covariance.trace(), 0.5 * sum(expected), rel_tol=1e-14)


def test_a_spectrum_of_other_length_is_refused():
    with pytest.raises(DivergenceError, match="a spectrum of 3 eigenvalues for dimension 4"):
        Rotated(orthogonal(4), torch.ones(3))


def test_a_spectrum_that_is_not_positive_is_refused():
    with pytest.raises(DivergenceError, match="eigenvalues of a spectrum: 2 of 4 are not finite and positive"):
        Rotated(orthogonal(4), Uniform(low=-1.0, high=1.0))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(DivergenceError, match="of a rotated covariance; expected a finite positive number"):
        Rotated(orthogonal(4), scale=scale)
