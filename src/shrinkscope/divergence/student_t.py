"""Kullback-Leibler divergence of multivariate Student-t distributions that differ by a shift, exactly.

One method serves every regime: a one-dimensional integral of positive terms, summed by the trapezoidal rule with a
relative error that is bounded uniformly in dimension, degrees of freedom and distance (``student_t_quadrature`` states
the integral and the bounds, docs/student-t.md derives them). There is no expansion for small distances, no Gaussian
approximation for many dimensions and no sampling. The only rescaling: below a distance of 1e-100 its square would
underflow, and there the divergence is proportional to the square within a relative 1e-190.
"""

from typing import Any

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from shrinkscope.divergence.student_t_quadrature import divergence, slope, trapezoidal_rule
from shrinkscope.errors import DivergenceError

LARGEST_DIM = 1e15
SMALLEST_DF, LARGEST_DF = 1e-6, 1e15
SMALLEST_DELTA, LARGEST_DELTA = 1e-100, 1e100


def student_t_kl(
    delta: int | float | Shaped[Tensor, "*shape"], *, dim: int | float, df: int | float
) -> Float64[Tensor, "*shape"]:
    """KL(t_ν(μ, Σ) ‖ t_ν(μ + Δ, Σ)) in nats, exact, as a function of δ = √(Δᵀ Σ⁻¹ Δ).

    Args:
        delta: Mahalanobis distance of the two locations, in units of the *scale* Σ (the covariance is ν/(ν − 2) Σ);
            any shape, from 0 to 1e100.
        dim: Number of coordinates, a whole number from 1 to 1e15; it may be given as a float such as 1e8.
        df: Degrees of freedom ν of both distributions, from 1e-6 to 1e15; infinitely many are the Gaussian case, δ²/2.

    Returns:
        Divergence on the device and of the shape of ``delta``; 0 where ``delta`` is 0. The relative error is at most
        1e-12 (as long as the result is a normal float64, that is δ > 1e-150). Differentiable in ``delta`` to any
        order; the derivative at 0 is 0.

    Raises:
        DivergenceError: If ``dim``, ``df`` or an element of ``delta`` is outside its range (NaN included), where the
            error bound is not proved, or if ``delta`` is complex.

    Source: derived in docs/student-t.md; tests/divergence/test_student_t.py checks it against the definition, two
        series and closed forms.

    Example:
        Two Cauchy distributions, whose divergence is log(1 + δ²/4):

        >>> student_t_kl(2.0, dim=1, df=1)
        tensor(0.6931, dtype=torch.float64)
    """
    dim, df = _checked_dim(dim), _checked_df(df)
    distances = _checked_delta(delta)
    return _ShiftDivergence.apply(distances, dim, df) if distances.numel() else distances


class _ShiftDivergence(torch.autograd.Function):
    """``divergence`` with ``slope`` as derivative: autograd through the value would lose digits where it saturates."""

    @staticmethod
    def forward(delta: Tensor, dim: float, df: float) -> Tensor:
        vector = delta.reshape(-1)
        floored = vector.clamp(min=SMALLEST_DELTA)
        value = divergence(floored, trapezoidal_rule(dim, df, float(floored.max()), delta.device))
        return (value * (vector / floored) ** 2).reshape(delta.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        delta, ctx.dim, ctx.df = inputs
        ctx.save_for_backward(delta)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (delta,) = ctx.saved_tensors
        vector = delta.reshape(-1)
        rule = trapezoidal_rule(ctx.dim, ctx.df, float(vector.detach().max()), delta.device)
        return gradients[0] * slope(vector, rule).reshape(delta.shape), None, None


def _checked_dim(dim: float) -> float:
    if not (1 <= dim <= LARGEST_DIM and float(dim).is_integer()):
        raise DivergenceError(f"dim is {dim}; expected a whole number of coordinates from 1 to {LARGEST_DIM:g}")
    return float(dim)


def _checked_df(df: float) -> float:
    if not SMALLEST_DF <= df <= LARGEST_DF:
        raise DivergenceError(
            f"df is {df}; expected degrees of freedom from {SMALLEST_DF:g} to {LARGEST_DF:g} "
            "(for infinitely many use the Gaussian divergence, delta**2 / 2)"
        )
    return float(df)


def _checked_delta(delta: float | Tensor) -> Tensor:
    """Distances as float64, kept in the graph."""
    given = delta if isinstance(delta, Tensor) else torch.tensor(delta, dtype=torch.float64)
    if given.is_complex():
        raise DivergenceError(f"delta has dtype {given.dtype}; expected real distances")
    distances = given.to(torch.float64)
    invalid = ~((distances >= 0) & (distances <= LARGEST_DELTA))
    if bool(invalid.any()):
        index = invalid.nonzero()[0].tolist()
        raise DivergenceError(
            f"delta{index or ''} is {float(distances[tuple(index)])}; expected a distance from 0 to {LARGEST_DELTA:g}: "
            "check weights and scale for NaN and infinity"
        )
    return distances
