"""The limits that the base class guards."""

import pytest
import torch

from shrinkscope.divergence.covariance import DENSE_LIMIT, Diagonal, Isotropic
from shrinkscope.errors import DivergenceError


def test_a_large_dense_matrix_is_refused_with_its_size():
    with pytest.raises(DivergenceError, match="dimension 20480 needs a matrix of 3,355,443,200 bytes; at most 4096"):
        Isotropic(20480).dense()


def test_the_largest_allowed_dense_matrix_is_the_limit_itself():
    assert Isotropic(DENSE_LIMIT, 2.0).dense().shape == (DENSE_LIMIT, DENSE_LIMIT)


@pytest.mark.parametrize("dim", [0, -3])
def test_a_dimension_below_one_is_refused(dim):
    with pytest.raises(DivergenceError, match=f"dimension {dim} of an isotropic covariance"):
        Isotropic(dim)


@pytest.mark.parametrize("variance", [0.0, -1.0, float("inf"), float("nan")])
def test_a_variance_that_is_not_positive_is_refused(variance):
    with pytest.raises(DivergenceError, match="of an isotropic covariance; expected a finite positive number"):
        Isotropic(3, variance)


def test_singular_variances_are_refused_with_the_condition_number():
    with pytest.raises(
        DivergenceError, match=r"1 of 3 are not finite and positive, the first is number 1 \(0\).*number inf"
    ):
        Diagonal(torch.tensor([1.0, 0.0, 2.0]))


def test_variances_must_be_a_vector():
    with pytest.raises(DivergenceError, match=r"have shape \(2, 2\); expected a vector"):
        Diagonal(torch.ones(2, 2))


def test_variances_of_any_ratio_keep_every_digit():
    covariance = Diagonal(torch.tensor([1e-300, 1e300], dtype=torch.float64))
    x = torch.tensor([3e-150, 4e150], dtype=torch.float64)
    assert float(covariance.quadratic(x)) == pytest.approx(25.0, rel=1e-15)
    assert covariance.logdet() == pytest.approx(0.0, abs=1e-12)  # the product itself would be 1, its partial ones not
