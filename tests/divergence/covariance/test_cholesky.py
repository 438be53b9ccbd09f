"""Which matrices are accepted as covariances."""

import math

import pytest
import torch

from shrinkscope.divergence.covariance import Dense, Kronecker
from shrinkscope.divergence.covariance.cholesky import condition_estimate
from shrinkscope.errors import DivergenceError


def matrix(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_condition_estimate_is_within_its_known_factor():
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(50, 60, generator=generator, dtype=torch.float64)
    covariance = normals @ normals.mT
    exact = float(torch.linalg.cond(covariance, 1))
    estimate = condition_estimate(covariance, torch.linalg.cholesky(covariance))
    # LAPACK's estimator is a lower bound that is almost always within a factor 3 (Higham, §15.3).
    assert exact / 3 <= estimate <= exact * (1 + 1e-9)


def test_variances_of_very_different_size_are_no_obstacle():
    scales = torch.tensor([1e-8, 1.0, 1e8], dtype=torch.float64)
    correlation = matrix([[1.0, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 1.0]])
    covariance = Dense(correlation * scales * scales.unsqueeze(-1))
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    expected = float(x @ torch.linalg.solve(correlation, x))
    assert math.isclose(float(covariance.quadratic(x * scales)), expected, rel_tol=1e-13)


def test_asymmetry_of_float32_accumulation_is_evened_out():
    covariance = Dense(matrix([[1.0, 0.5 + 1e-7], [0.5, 1.0]]))
    assert torch.equal(covariance.dense(), covariance.dense().mT)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 0.9], [0.1, 1.0]], "is not symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], r"is indefinite: .* condition number is inf .* eigenvalues from -1 to 3"),
        (
            [[1.0, 1.0 - 1e-14], [1.0 - 1e-14, 1.0]],
            r"is near-singular: .* condition number is (2|1.99)e\+14 \(limit 1e\+12",
        ),
        ([[1.0, 0.0], [0.0, 0.0]], r"singular or indefinite \(condition number inf\)"),
        ([[math.nan, 0.0], [0.0, 1.0]], "infinite or NaN entries"),
        ([[1.0, 0.0]], r"shape \(1, 2\); expected a square matrix"),
    ],
)
def test_what_is_no_covariance_is_refused(rows, message):
    with pytest.raises(DivergenceError, match=message):
        Dense(matrix(rows))


def test_the_singular_factor_of_a_kronecker_product_is_named():
    with pytest.raises(DivergenceError, match="the right factor of a Kronecker covariance is near-singular"):
        Kronecker(torch.eye(2), torch.ones(3, 3))
