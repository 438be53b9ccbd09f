"""A latent on a cube, in which Lemma 3.3 has the finite volume that it needs and Gaussian latents deny it."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from shrinkscope.analysis.statements.trial import Trial
from shrinkscope.theory import lemma_3_3
from shrinkscope.theory.through_layers import BoundedLayer, LayerNorms

_NODES = 24
"""Of Gauss-Legendre quadrature on [−½, ½]: log(1 + bz) is analytic there, and |bz| ≤ ½."""


def cube_trials(layers: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Trial]:
    """Lemma 3.3 from each layer to the next, with latents P_ω(z) = ∏(1 + ω_i z_i) on the cube [−½, ½]^d.

    The cube has volume 1, whatever d. The weights of each layer are scaled until the largest is 1/d: the densities are
    then Lipschitz in the weights with a constant of ½√d·(1 + 1/(2d))^(d − 1), and no power of d appears.

    Args:
        layers: Dense and compressed weights of each layer, of one shape, in the order of the network; at least two.

    Yields:
        The lemma for each pair of neighbours, as published, corrected and sharpened, beside the exact divergence.

    Source: derived here; tests/analysis/statements/test_cube.py checks each constant by integration.
    """
    laws = [_Law.of(dense, compressed) for dense, compressed in layers]
    for layer, following in pairwise(laws):
        epsilon, measured = layer.divergence(), following.divergence()
        constants = {"epsilon": epsilon, "layer": layer.constants(), "following": following.constants()}
        yield Trial(bound=lemma_3_3.as_published(**constants), measured=measured)
        yield Trial(bound=lemma_3_3.corrected(**constants), measured=measured)
        yield Trial(bound=lemma_3_3.sharpened(following=constants["following"]), measured=measured)


class _Law:
    """P_ω and P_ω̃ of one layer, for weights that are at most 1 in absolute value."""

    def __init__(self, dense: Tensor, compressed: Tensor) -> None:
        self.dense, self.compressed = dense, compressed

    @classmethod
    def of(cls, dense: Tensor, compressed: Tensor) -> "_Law":
        both = torch.stack([dense.detach().reshape(-1), compressed.detach().reshape(-1)]).to("cpu", torch.float64)
        largest = float(both.abs().max())
        scaled = both / (largest * both.shape[1]) if largest else both
        return cls(*scaled)

    def constants(self) -> BoundedLayer:
        number = len(self.dense)
        largest = float(torch.stack([self.dense, self.compressed]).abs().max())
        return BoundedLayer(
            norms=LayerNorms(dense=float(self.dense.norm()), compressed=float(self.compressed.norm())),
            trace_p=_total_variance(self.dense),
            trace_q=_total_variance(self.compressed),
            # Of ∏(1 + ω_j z_j), the derivative in ω_i is z_i times the other factors.
            lipschitz=math.sqrt(number) / 2 * math.exp((number - 1) * math.log1p(largest / 2)),
            volume=1.0,
            inverse_density=math.exp(float(_log_of_inverse(self.compressed).sum())),
        )

    def divergence(self) -> float:
        """KL(P_ω‖P_ω̃) in nats: the sum over coordinates, each ∫(1 + az)·log((1 + az)/(1 + bz)) dz."""
        points, weights = _quadrature()
        shift = (self.dense - self.compressed)[:, None] * points
        base = 1 + self.compressed[:, None] * points
        ratio = shift / base
        # ∫(a − b)z dz = 0 is taken off, so that nothing of first order is left to cancel.
        terms = base * ((1 + ratio) * torch.log1p(ratio) - ratio)
        return float((terms @ weights).sum())


def _quadrature() -> tuple[Tensor, Tensor]:
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(points / 2), torch.from_numpy(weights / 2)


def _total_variance(weights: Tensor) -> float:
    """E z_i² = 1/12 and E z_i = ω_i/12."""
    return float((1 / 12 - (weights / 12).square()).sum())


def _log_of_inverse(weights: Tensor) -> Tensor:
    """Logarithm of ∫dz/(1 + bz), which is 2 artanh(b/2)/b and 1 at b = 0."""
    safe = torch.where(weights == 0, 1.0, weights)
    return torch.where(weights == 0, 0.0, torch.log(2 * torch.atanh(safe / 2) / safe))
