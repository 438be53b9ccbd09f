"""Losses of random models at both ends of a segment of weights, with gradients and dense Hessians, in float64.

The curvature is the largest absolute eigenvalue at the nodes of a Gauss–Legendre rule along the segment. The remainder
of Taylor's formula is ∫(1 − t)ΔᵀH(t)Δ dt, which that rule gives to rounding for these smooth models; its weights are
positive, so the remainder is at most half the largest eigenvalue *at the nodes* times ‖Δ‖²: no maximum is missed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NODES = 12


@dataclass(frozen=True)
class Instances:
    """A batch of pairs: weights, mean losses and first and second derivatives."""

    dense: Tensor
    compressed: Tensor
    loss_dense: Tensor
    loss_compressed: Tensor
    gradient_dense: Tensor
    gradient_compressed: Tensor
    hessians: Tensor  # batch × nodes along the segment × dim × dim

    @property
    def delta(self) -> Tensor:
        return self.dense - self.compressed

    @property
    def difference(self) -> list[float]:
        return (self.loss_dense - self.loss_compressed).abs().tolist()

    @property
    def curvature(self) -> list[float]:
        return torch.linalg.eigvalsh(self.hessians).abs().amax((-1, -2)).tolist()

    @property
    def largest_eigenvalue(self) -> list[float]:
        """With its sign, next to the compressed end: what the paper's λ_max means."""
        return torch.linalg.eigvalsh(self.hessians[:, 0])[..., -1].tolist()

    def gradient_norm(self, which: str) -> list[float]:
        return (self.gradient_dense if which == "dense" else self.gradient_compressed).norm(dim=-1).tolist()

    def __len__(self) -> int:
        return len(self.dense)


def pruned(weights: Tensor, rng: torch.Generator) -> Tensor:
    """Each row with a random share of its entries of smallest magnitude removed, at least one."""
    dim = weights.shape[-1]
    count = torch.randint(1, dim + 1, (len(weights), 1), generator=rng)
    ranks = weights.abs().argsort(-1).argsort(-1)
    return torch.where(ranks < count, 0.0, weights)


def rounded(weights: Tensor, rng: torch.Generator) -> Tensor:
    """Each row quantised finely, in steps of a hundredth with a random offset."""
    offset = torch.rand(len(weights), 1, generator=rng, dtype=torch.float64)
    return ((100 * weights + offset).round() - offset) / 100


Compression = Callable[[Tensor, torch.Generator], Tensor]


def quadratics(count: int, dim: int, rng: torch.Generator, compress: Compression = pruned) -> Instances:
    """½ωᵀAω + bᵀω with A of any signature."""
    half = torch.randn(count, dim, dim, generator=rng, dtype=torch.float64)
    matrix, slope = half + half.mT, torch.randn(count, dim, generator=rng, dtype=torch.float64)

    def loss(weights: Tensor, matrix: Tensor, slope: Tensor) -> Tensor:
        return weights @ matrix @ weights / 2 + slope @ weights

    dense = torch.randn(count, dim, generator=rng, dtype=torch.float64)
    return _instances(loss, dense, compress(dense, rng), matrix, slope)


def softmax_regressions(
    count: int, rng: torch.Generator, compress: Compression = pruned, samples: int = 8
) -> Instances:
    """Cross-entropy of three classes that are linear in three features: the last layer of a network."""
    features = torch.randn(count, samples, 3, generator=rng, dtype=torch.float64)
    labels = torch.randint(3, (count, samples), generator=rng)

    def loss(weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(features @ weights.reshape(3, 3), labels)

    dense = torch.randn(count, 9, generator=rng, dtype=torch.float64)
    return _instances(loss, dense, compress(dense, rng), features, labels)


def networks(count: int, rng: torch.Generator, compress: Compression = pruned, samples: int = 8) -> Instances:
    """Cross-entropy of networks of two layers, 2 → 3 → 2 with tanh between, all weights compressed together."""
    inputs = torch.randn(count, samples, 2, generator=rng, dtype=torch.float64)
    labels = torch.randint(2, (count, samples), generator=rng)

    def loss(weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        hidden = torch.tanh(inputs @ weights[:6].reshape(2, 3))
        return torch.nn.functional.cross_entropy(hidden @ weights[6:].reshape(3, 2), labels)

    dense = torch.randn(count, 12, generator=rng, dtype=torch.float64)
    return _instances(loss, dense, compress(dense, rng), inputs, labels)


def families(count: int, rng: torch.Generator, compress: Compression = pruned) -> list[Instances]:
    return [
        quadratics(count, 6, rng, compress),
        softmax_regressions(count, rng, compress),
        networks(count, rng, compress),
    ]


def _instances(loss: Callable[..., Tensor], dense: Tensor, compressed: Tensor, *data: Tensor) -> Instances:
    value, slope = torch.vmap(loss), torch.vmap(torch.func.grad(loss))
    twice = torch.func.jacrev(torch.func.jacrev(loss))  # forward mode would warn: torch scripts its rules
    at = torch.from_numpy((np.polynomial.legendre.leggauss(NODES)[0] + 1) / 2)
    points = compressed.unsqueeze(1) + at.reshape(1, -1, 1) * (dense - compressed).unsqueeze(1)
    per_point = torch.vmap(twice, in_dims=(0, *(None for _ in data)))
    return Instances(
        dense,
        compressed,
        value(dense, *data),
        value(compressed, *data),
        slope(dense, *data),
        slope(compressed, *data),
        torch.vmap(per_point)(points, *data),
    )
