"""Gaussian latents N(ω, σ²I), where AP3 is AP2 in another unit unless the scale knows the layer."""

from shrinkscope.latent.located import Located
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class Gaussian(Located, frozen=True, kw_only=True, tag="gaussian", tag_field="kind"):
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

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL(N(𝒫ω, σ²I)‖N(𝒫ω̃, σ²I)) of one layer, in nats, exact.

        Raises:
            LatentError: If the layer is empty or has no weight scale.
        """
        delta, _ = self.distance(summary)
        return Quantity(value=0.5 * delta**2, unit="nats")
