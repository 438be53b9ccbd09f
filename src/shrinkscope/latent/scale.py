"""The scale Σ = σ²I of a latent distribution: fixed, or taken from the layer's own weights."""

import math

import msgspec

from shrinkscope.errors import LatentError
from shrinkscope.weights import PairMoments


class FixedScale(msgspec.Struct, frozen=True, kw_only=True, tag="fixed", tag_field="kind", forbid_unknown_fields=True):
    """The same σ for every layer: a divergence that ranks the layers exactly as AP2 does.

    Attributes:
        sigma: σ > 0, in the units of the weights.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise LatentError(f"sigma = {self.sigma}; expected a positive number")

    def variance(self, moments: PairMoments) -> float:
        """σ², whatever the layer."""
        return self.sigma**2


class WeightScale(
    msgspec.Struct, frozen=True, kw_only=True, tag="weight", tag_field="kind", forbid_unknown_fields=True
):
    """Each layer's own scale: σ² is the mean square of its dense weights, which makes the divergence scale-free.

    Attributes:
        factor: σ as a multiple of the root mean square weight.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (self.factor > 0 and math.isfinite(self.factor)):
            raise LatentError(f"factor = {self.factor}; expected a positive number")

    def variance(self, moments: PairMoments) -> float:
        """σ² of the layer.

        Raises:
            LatentError: If all its dense weights are zero, so that they have no scale.
        """
        variance = (self.factor * moments.root_mean_square_dense) ** 2
        if variance == 0.0:
            raise LatentError("all dense weights are zero: there is no weight scale to measure against")
        return variance


Scale = FixedScale | WeightScale
