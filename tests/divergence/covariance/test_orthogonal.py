"""The paper's random orthogonal matrix: its definition, and its law."""

import pytest
import torch
from scipy.stats import kstest

from shrinkscope.divergence.covariance import RandomEigenvectors
from shrinkscope.errors import DivergenceError


def test_its_columns_are_the_eigenvectors_of_the_symmetrised_draw():
    rotation = RandomEigenvectors(12, torch.Generator().manual_seed(5))
    normals = torch.randn(12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    turned = rotation.matrix.mT @ (normals + normals.mT) @ rotation.matrix
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()))


def test_apply_and_transpose_are_inverse():
    rotation = RandomEigenvectors(12, torch.Generator().manual_seed(5))
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    torch.testing.assert_close(rotation.apply(x), x @ rotation.matrix.mT)
    torch.testing.assert_close(rotation.transpose(rotation.apply(x)), x)


def test_the_squared_coordinates_of_a_fixed_vector_follow_the_law_of_a_uniform_direction():
    # Under the Haar law any fixed coordinate of Vᵀx, |x| = 1, squared, is Beta(½, (dim−1)/2). 400 independent draws;
    # the Kolmogorov–Smirnov test at 1e-4 fails by chance with that probability, once for the fixed seed.
    dim, generator = 5, torch.Generator().manual_seed(11)
    x = torch.tensor([0.6, 0.0, 0.0, 0.8, 0.0], dtype=torch.float64)
    squares = [float(RandomEigenvectors(dim, generator).transpose(x)[2] ** 2) for _ in range(400)]
    assert kstest(squares, "beta", args=(0.5, (dim - 1) / 2)).pvalue > 1e-4


def test_a_large_dimension_is_refused_with_its_size():
    with pytest.raises(DivergenceError, match="dimension 20480 needs a matrix of 3,355,443,200 bytes"):
        RandomEigenvectors(20480, torch.Generator())


def test_a_dimension_below_one_is_refused():
    with pytest.raises(DivergenceError, match="dimension 0 of a random orthogonal matrix"):
        RandomEigenvectors(0, torch.Generator())
