"""Rotated Gaussian latents N(ω, βVΛVᵀ): the paper's non-diagonal covariance."""

from functools import lru_cache

import msgspec
import torch

from shrinkscope.divergence.covariance import Orthogonal, PowerLaw, Rotated, Spectrum, random_orthogonal
from shrinkscope.latent.located import Located, require_elements, require_seed
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class RotatedGaussian(Located, frozen=True, kw_only=True, tag="rotated_gaussian", tag_field="kind"):
    """N(𝒫ω, βVΛVᵀ): KL = ½ΔᵀΣ⁻¹Δ in nats, with V a random rotation.

    V depends on the latent dimension and the seed alone, so that every comparison of a study uses the same one. In few
    dimensions it is the paper's own, the eigenvectors of R + Rᵀ; from 128 on it is an operator that needs no matrix and
    whose quadratic form follows the same law as closely as tests resolve (docs/rotated.md). With equal eigenvalues the
    rotation changes nothing, and the divergence is that of the isotropic Gaussian.

    Attributes:
        name: Ending of its column.
        spectrum: Λ: equal, uniform or power law.
        scale: β as σ², fixed or the layer's own mean square weight.
        projection: Weights to latent coordinates.
        seed: Seed that V is drawn from.

    Source: paper, Section 2 (after Definition 2.2) and Eq. (3).
    """

    name: str = "gaussian_rotated"
    spectrum: Spectrum = msgspec.field(default_factory=PowerLaw)
    seed: int = 0

    def __post_init__(self) -> None:
        require_seed(self.seed)

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL of one layer, in nats, exact for the V that the seed draws.

        Raises:
            LatentError: If the layer is empty or has no weight scale.
        """
        require_elements(summary)
        variance = self.scale.variance(summary.moments)
        delta = self.projected_delta(summary)
        covariance = Rotated(_rotation(delta.numel(), self.seed), self.spectrum, variance)
        return Quantity(value=0.5 * float(covariance.quadratic(delta)), unit="nats")


@lru_cache(maxsize=4)  # layers of one size, and all epochs of a study, share V
def _rotation(dim: int, seed: int) -> Orthogonal:
    return random_orthogonal(dim, torch.Generator().manual_seed(seed))
