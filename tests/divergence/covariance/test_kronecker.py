"""Kronecker covariances: the order of the factors, and sizes whose product no matrix could hold."""

import math

import torch

from shrinkscope.divergence.covariance import Kronecker


def test_the_order_of_the_factors_is_that_of_a_flattened_weight():
    left = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    right = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(Kronecker(left, right).dense(), torch.kron(left, right))


def test_a_layer_of_a_million_weights_needs_only_its_factors():
    left, right = 2.0 * torch.eye(1000), 1e-200 * torch.eye(1000, dtype=torch.float64)
    covariance = Kronecker(left, right)
    x = torch.full((1_000_000,), 1e-103, dtype=torch.float64)
    assert math.isclose(float(covariance.quadratic(x)), 1e6 * 1e-206 / 2e-200, rel_tol=1e-12)
    assert math.isclose(covariance.logdet(), 1e6 * (math.log(2.0) - 200 * math.log(10.0)), rel_tol=1e-12)
