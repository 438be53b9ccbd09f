"""Gaussian latents N(ω, σ²I), where AP3 is AP2 in another unit unless the scale knows the layer."""

import msgspec

from shrinkscope.latent.base import groups_of, isotropic_distance, require_elements
from shrinkscope.latent.projection import FullDimension, Projection
from shrinkscope.latent.scale import Scale, WeightScale
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class Gaussian(msgspec.Struct, frozen=True, kw_only=True, tag="gaussian", tag_field="kind", forbid_unknown_fields=True):
    """N(𝒫ω, σ²I): KL = ‖𝒫Δ‖²/(2σ²), in nats.

    With a fixed σ it ranks layers exactly as AP2 does; with the layer's own weight scale it is d/2 times the
    relative AP2.

    Attributes:
        name: Ending of its column.
        scale: σ, fixed or the layer's own.
        projection: Weights to latent coordinates.

    Source: paper, Eq. (3) with Σ = Σ̃.
    """

    name: str = "gaussian"
    scale: Scale = msgspec.field(default_factory=WeightScale)
    projection: Projection = msgspec.field(default_factory=FullDimension)

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"ap3_{self.name}"

    @property
    def groups(self) -> int | None:
        """Number of group means that it needs."""
        return groups_of(self.projection)

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL(N(𝒫ω, σ²I)‖N(𝒫ω̃, σ²I)) of one layer, in nats, exact.

        Raises:
            LatentError: If the layer is empty or has no weight scale.
        """
        require_elements(summary)
        delta, _ = isotropic_distance(summary, self.projection, self.scale)
        return Quantity(value=0.5 * delta**2, unit="nats")
