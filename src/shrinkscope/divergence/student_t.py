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

from shrinkscope.divergence.student_t_quadrature import Rule, trapezoidal_rule
from shrinkscope.divergence.student_t_values import checked, shift_divergence
from shrinkscope.errors import DivergenceError


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
    dim, df = checked(dim, df)
    distances = _float64(delta)
    if distances.numel() == 0:
        return distances.clone()
    if distances.requires_grad:
        return _ShiftDivergence.apply(distances, dim, df)
    return _value(distances, dim, df)  # the detour through autograd.Function doubles the time of a single value


def _value(delta: Tensor, dim: float, df: float) -> Tensor:
    values = shift_divergence(delta.numpy(force=True), dim, df)
    return torch.from_numpy(values).reshape(delta.shape).to(delta.device)


def _slope(delta: Tensor, dim: float, df: float) -> Tensor:
    flat = delta.reshape(-1).cpu()
    values = derivative(flat, trapezoidal_rule(dim, df, float(flat.detach().max())))
    return values.reshape(delta.shape).to(delta.device)


def derivative(delta: Float64[Tensor, " n"], rule: Rule) -> Float64[Tensor, " n"]:
    """Derivative of KL in the distance, in nats per unit of distance; autograd can follow it to any order.

    Args:
        delta: Distances, from 0 to the largest one of ``rule``.
        rule: Nodes and weights.

    Returns:
        Non-negative derivatives; 0 where ``delta`` is 0.

    Source: the third integral of the docstring of ``student_t_quadrature``.
    """
    mixing, weights = torch.tensor(rule.mixing), torch.tensor(rule.weights * rule.mixing)
    tables = ((part * part / rule.df)[:, None] * mixing for part in delta.split(rule.block))
    return delta * torch.cat([torch.exp(-(rule.df / 2 + 1) * torch.log1p(table)) @ weights for table in tables])


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


def _float64(delta: int | float | Tensor) -> Tensor:
    """Distances as float64, still in the graph of autograd."""
    if not isinstance(delta, Tensor):
        return torch.tensor(delta, dtype=torch.float64)
    if delta.is_complex():
        raise DivergenceError(f"delta has dtype {delta.dtype}; expected real distances")
    return delta.to(torch.float64)
