"""Smooth noise: what images look like to a network that has been told nothing about them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# By the number of dimensions after the channels.
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def smooth_noise(shape: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Noise with structure at every scale, each input and channel of mean 0 and variance 1 in expectation.

    Independent Gaussian grids of 1, 2, 4, … points a side are stretched to the input's size and added with weight
    1/points, as amplitudes fall with frequency in natural images. Inputs without such dimensions are white noise.

    Args:
        shape: Shape of one input: (channels, …sides), or (features,).
        count: Number of inputs.
        generator: Source of the noise, on any device.

    Returns:
        Float32 noise on the CPU, shape (count, *shape).
    """
    channels, sides = shape[0], tuple(shape[1:])
    if not sides or len(sides) not in _MODES:
        return _normal((count, *shape), generator)
    total, variance = torch.zeros(count, *shape), torch.zeros(sides)
    points = 1
    while points <= max(sides):
        grid = _normal((count, channels, *(min(points, side) for side in sides)), generator)
        total += _stretched(grid, sides) / points
        # What stretching leaves of the variance differs from place to place: it is known, so it is divided out.
        variance += _stretched_variance(grid.shape[2:], sides) / points**2
        points *= 2
    return total / variance.sqrt()


def _normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, device=generator.device).to("cpu")


def _stretched(grid: Tensor, sides: tuple[int, ...]) -> Tensor:
    return interpolate(grid, size=sides, mode=_MODES[len(sides)], align_corners=False)


def _stretched_variance(points: Sequence[int], sides: tuple[int, ...]) -> Tensor:
    """Variance at each place of a stretched grid of unit variances: a product over the dimensions."""
    variance = torch.ones(())
    for count, side in zip(points, sides, strict=True):
        weights = interpolate(torch.eye(count)[None], size=side, mode="linear", align_corners=False)[0]
        variance = variance[..., None] * weights.square().sum(dim=0)
    return variance
