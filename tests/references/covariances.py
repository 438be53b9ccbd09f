"""Random matrices for covariances: positive definite, and of known conditioning."""

import torch
from torch import Tensor


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, rng: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def between(low: float, high: float, *shape: int, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=rng, dtype=torch.float64)


def positive_definite(dim: int, rng: torch.Generator, low: float = 0.2, high: float = 3.0) -> Tensor:
    """VΛVᵀ with eigenvalues between low and high."""
    rotation = torch.linalg.qr(normal(dim, dim, rng=rng)).Q
    matrix = rotation * between(low, high, dim, rng=rng) @ rotation.mT
    return (matrix + matrix.mT) / 2
