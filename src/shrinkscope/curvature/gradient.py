"""Norm of the gradient of the mean loss, with what sampling alone would make of it."""

import msgspec
import torch

from shrinkscope.curvature.base import Curvature
from shrinkscope.curvature.samples import check_resamples
from shrinkscope.performance.bootstrap import default_generator
from shrinkscope.quantity import Quantity


class GradientNorm(msgspec.Struct, frozen=True, kw_only=True):
    """‖∇ℓ‖ of a mean loss.

    Attributes:
        norm: Norm of the gradient of the mean loss of the samples; the standard error is that of the slope along it.
        noise: Norm that the gradient of as many samples would have (root mean square) where that of the population
            vanishes: a norm near it says nothing about the population. None without resamples.
        samples: Number of samples.
        dimension: Number of weights.
    """

    norm: Quantity
    noise: float | None
    samples: int
    dimension: int


def gradient_norm(
    curvature: Curvature, *, resamples: int = 8, generator: torch.Generator | None = None
) -> GradientNorm:
    """‖∇ℓ‖ of the loss whose curvature is given, in loss per weight.

    Args:
        curvature: The matrix of second derivatives; its loss, samples and weights are meant.
        resamples: Disjoint random parts of the samples whose gradients give ``noise``; 0 for none.
        generator: Source of the parts; seed 0 when None.

    Returns:
        The norm.

    Raises:
        CurvatureError: If there are fewer samples than resamples, or the gradient is not finite.

    Source: derived here. With parts of n_r of n samples, E Σ (n_r/n) |g_r − ḡ|² = (R − 1) tr Cov(ḡ); tested against
        the gradients of single samples.
    """
    check_resamples(resamples)
    gradient = curvature.gradient()
    size = float(gradient.norm())
    error = None
    if size and curvature.samples > 1:
        slopes = curvature.slopes(gradient / size)
        error = float(slopes.std(correction=1)) / curvature.samples**0.5
    noise = None
    if resamples:
        generator = default_generator() if generator is None else generator
        parts = curvature.parts(resamples, generator)
        spread = sum(
            part.samples / curvature.samples * float(part.gradient().sub_(gradient).square().sum()) for part in parts
        )
        noise = (spread / (resamples - 1)) ** 0.5
    unit = f"{curvature.unit} per weight"
    return GradientNorm(
        norm=Quantity(value=size, unit=unit, status="estimate", standard_error=error),
        noise=noise,
        samples=curvature.samples,
        dimension=curvature.dimension,
    )
