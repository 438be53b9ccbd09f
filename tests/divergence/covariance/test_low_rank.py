"""Low rank plus diagonal where the textbook Woodbury formula fails."""

import math

import mpmath
import pytest
import torch

from shrinkscope.divergence.covariance import LowRankPlusDiagonal
from shrinkscope.errors import DivergenceError


def exact_quadratic(v: float, f: list[float], x: list[float]) -> float:
    """xᵀ(vI + ffᵀ)⁻¹x by the rank-one formula, at 60 digits where its cancellation does not matter."""
    with mpmath.workdps(60):
        f_, x_ = [mpmath.mpf(value) for value in f], [mpmath.mpf(value) for value in x]
        inner, norm = mpmath.fdot(f_, x_), mpmath.fdot(f_, f_)
        return float((mpmath.fdot(x_, x_) - inner**2 / (v + norm)) / v)


@pytest.mark.parametrize("v", [1e-4, 1e-8, 1e-12, 1e-16])
def test_a_vector_along_a_strong_direction_keeps_its_digits(v):
    f, x = [1.0, 2.0, -0.5, 0.25], [1.0, 2.0, -0.5, 0.250001]
    covariance = LowRankPlusDiagonal(
        torch.full((4,), v, dtype=torch.float64), torch.tensor(f, dtype=torch.float64).unsqueeze(-1)
    )
    got = float(covariance.quadratic(torch.tensor(x, dtype=torch.float64)))
    # Stated error: ε√(1+s²) with s² = 5.3/v, times a small constant; Woodbury would lose ε s² (everything at 1e-16).
    assert math.isclose(got, exact_quadratic(v, f, x), rel_tol=20 * 2.2e-16 * math.sqrt(5.3125 / v))


def test_log_determinants_do_not_overflow():
    covariance = LowRankPlusDiagonal(torch.full((5000,), 1e-3, dtype=torch.float64), torch.ones(5000, 2))
    # |vI + 2·11ᵀ| = v^d (1 + 2d/v): its value, 10⁻¹⁴⁹⁹³, is no float64
    expected = 5000 * math.log(1e-3) + math.log1p(2 * 5000 / 1e-3)
    assert math.isclose(covariance.logdet(), expected, rel_tol=1e-13)


def test_a_factor_of_other_height_is_refused():
    with pytest.raises(DivergenceError, match=r"factor of shape \(4, 2\) does not fit a diagonal of 3 entries"):
        LowRankPlusDiagonal(torch.ones(3), torch.ones(4, 2))


def test_a_factor_with_nan_is_refused():
    with pytest.raises(DivergenceError, match="infinite or NaN entries"):
        LowRankPlusDiagonal(torch.ones(3), torch.full((3, 1), math.nan))


def test_a_factor_far_above_the_diagonal_is_refused_with_the_condition_number():
    with pytest.raises(DivergenceError, match=r"factor of 5e\+22: the covariance is near-singular \(condition number"):
        LowRankPlusDiagonal(torch.full((5,), 1e-22, dtype=torch.float64), torch.ones(5, 1))
