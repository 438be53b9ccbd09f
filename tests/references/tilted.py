"""Laws on the cube [−1, 1]^d with density 2^(−d)(1 + 3ω·z): the mean is ω, the volume finite, all else quadrature."""

import numpy as np
import torch
from torch import Tensor

NODES = 24  # Gauss–Legendre, per axis: the densities stay above 0.1·2^(−d), so that their logarithms are smooth


def grid(dim: int) -> tuple[Tensor, Tensor]:
    """Nodes, count × dim, and weights of the product rule."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(NODES))
    points = torch.cartesian_prod(*[nodes] * dim).reshape(-1, dim)
    return points, torch.cartesian_prod(*[weights] * dim).reshape(-1, dim).prod(-1)


def density(weight: Tensor, points: Tensor) -> Tensor:
    return (1 + 3 * points @ weight) / 2 ** points.shape[-1]


def divergence(first: Tensor, second: Tensor) -> float:
    points, weights = grid(len(first))
    p, q = density(first, points), density(second, points)
    return float((weights * p * (p / q).log()).sum())


def inverse_density(weight: Tensor) -> float:
    """∫ dz/P(z)."""
    points, weights = grid(len(weight))
    return float((weights / density(weight, points)).sum())


def total_variance(weight: Tensor) -> float:
    """E z² is 1/3 on each axis, whatever ω."""
    return len(weight) / 3 - float(weight.square().sum())


def lipschitz(dim: int) -> float:
    """The largest norm of the derivative 3z·2^(−d) in ω: at the corners."""
    return 3 * dim**0.5 / 2**dim
