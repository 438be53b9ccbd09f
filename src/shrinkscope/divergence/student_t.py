"""Kullback-Leibler divergence of multivariate Student-t distributions that differ by a shift, exactly.

One method serves every regime: a one-dimensional integral of positive terms, summed by the trapezoidal rule with a
relative error that is bounded uniformly in dimension, degrees of freedom and distance (``student_t_quadrature`` states
the integral and the bounds, docs/student-t.md derives them). There is no expansion for small distances, no Gaussian
approximation for many dimensions and no sampling. The only rescaling: below a distance of 1e-100 its square would
underflow, and there the divergence is proportional to the square within a relative 1e-190.
"""

from typing import Any

import numpy as np
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
        Divergence of the shape and on the device of ``delta`` (computed on the CPU); 0 where ``delta`` is 0. The
        relative error is at most 1e-12 wherever the result is a normal float64, that is for δ > 1e-150.
        Differentiable in ``delta`` to any order; the derivative at 0 is 0.

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
    distances = _float64(delta)
    if distances.numel() == 0:
        return distances.clone()
    if distances.requires_grad:
        return _ShiftDivergence.apply(distances, dim, df)
    return _value(distances, dim, df)  # the detour through autograd.Function doubles the time of a single value


def _value(delta: Tensor, dim: float, df: float) -> Tensor:
    distances = delta.numpy(force=True)
    low, high = float(distances.min()), float(distances.max())  # NaN propagates into both
    if not (low >= 0 and high <= LARGEST_DELTA):
        raise DivergenceError(_first_invalid(distances))
    flat = distances.reshape(-1)
    floored = np.maximum(flat, SMALLEST_DELTA)
    values = divergence(floored, trapezoidal_rule(dim, df, high)) * (flat / floored) ** 2
    return torch.from_numpy(values).reshape(delta.shape).to(delta.device)


def _slope(delta: Tensor, dim: float, df: float) -> Tensor:
    flat = delta.reshape(-1).cpu()
    values = slope(flat, trapezoidal_rule(dim, df, float(flat.detach().max())))
    return values.reshape(delta.shape).to(delta.device)


class _ShiftDivergence(torch.autograd.Function):
    """``divergence`` with ``slope`` as derivative: autograd through the value would lose digits where it saturates."""

    @staticmethod
    def forward(delta: Tensor, dim: float, df: float) -> Tensor:
        return _value(delta, dim, df)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        delta, ctx.dim, ctx.df = inputs
        ctx.save_for_backward(delta)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (delta,) = ctx.saved_tensors
        return gradients[0] * _slope(delta, ctx.dim, ctx.df), None, None


def _checked_dim(dim: int | float) -> float:
    if not (1 <= dim <= LARGEST_DIM and float(dim).is_integer()):
        raise DivergenceError(f"dim is {dim}; expected a whole number of coordinates from 1 to {LARGEST_DIM:g}")
    return float(dim)


def _checked_df(df: int | float) -> float:
    if not SMALLEST_DF <= df <= LARGEST_DF:
        raise DivergenceError(
            f"df is {df}; expected degrees of freedom from {SMALLEST_DF:g} to {LARGEST_DF:g} "
            "(for infinitely many use the Gaussian divergence, delta**2 / 2)"
        )
    return float(df)


def _float64(delta: int | float | Tensor) -> Tensor:
    """Distances as float64, still in the graph of autograd."""
    if not isinstance(delta, Tensor):
        return torch.tensor(delta, dtype=torch.float64)
    if delta.is_complex():
        raise DivergenceError(f"delta has dtype {delta.dtype}; expected real distances")
    return delta.to(torch.float64)


def _first_invalid(delta: np.ndarray) -> str:
    index = np.argwhere(~((delta >= 0) & (delta <= LARGEST_DELTA)))[0].tolist()
    return (
        f"delta{index or ''} is {float(delta[tuple(index)])}; expected a distance from 0 to {LARGEST_DELTA:g}: "
        "check weights and scale for NaN and infinity"
    )
