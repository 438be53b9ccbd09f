"""The Student-t divergence of shifted distributions as a function of plain numbers, without PyTorch."""

import numpy as np

from shrinkscope.divergence.student_t_quadrature import divergence, trapezoidal_rule
from shrinkscope.errors import DivergenceError

LARGEST_DIM = 1e15
SMALLEST_DF, LARGEST_DF = 1e-6, 1e15
SMALLEST_DELTA, LARGEST_DELTA = 1e-100, 1e100


def shift_divergence(delta: np.ndarray, dim: float, df: float) -> np.ndarray:
    """KL(t_ν(μ, Σ) ‖ t_ν(μ + Δ, Σ)) in nats for each δ = √(Δᵀ Σ⁻¹ Δ): what ``student_t_kl`` computes.

    Args:
        delta: Distances, float64, at least one of them, from 0 to 1e100.
        dim: Number of coordinates, as ``checked`` returns it.
        df: Degrees of freedom, likewise.

    Returns:
        Divergences, flat.

    Raises:
        DivergenceError: If a distance is outside its range.

    Source: docs/student-t.md; tests/divergence/test_student_t.py.
    """
    low, high = float(delta.min()), float(delta.max())  # NaN propagates into both
    if not (low >= 0 and high <= LARGEST_DELTA):
        raise DivergenceError(_first_invalid(delta))
    flat = delta.reshape(-1)
    floored = np.maximum(flat, SMALLEST_DELTA)
    return divergence(floored, trapezoidal_rule(dim, df, high)) * (flat / floored) ** 2


def checked(dim: int | float, df: int | float) -> tuple[float, float]:
    """Dimension and degrees of freedom, where the error bound is proved for them.

    Args:
        dim: A whole number from 1 to 1e15.
        df: From 1e-6 to 1e15.

    Raises:
        DivergenceError: If one of them is outside its range.
    """
    if not (1 <= dim <= LARGEST_DIM and float(dim).is_integer()):
        raise DivergenceError(f"dim is {dim}; expected a whole number of coordinates from 1 to {LARGEST_DIM:g}")
    if not SMALLEST_DF <= df <= LARGEST_DF:
        raise DivergenceError(
            f"df is {df}; expected degrees of freedom from {SMALLEST_DF:g} to {LARGEST_DF:g} "
            "(for infinitely many use the Gaussian divergence, delta**2 / 2)"
        )
    return float(dim), float(df)


def _first_invalid(delta: np.ndarray) -> str:
    index = np.argwhere(~((delta >= 0) & (delta <= LARGEST_DELTA)))[0].tolist()
    return (
        f"delta{index or ''} is {float(delta[tuple(index)])}; expected a distance from 0 to {LARGEST_DELTA:g}: "
        "check weights and scale for NaN and infinity"
    )
