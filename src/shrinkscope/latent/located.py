"""What latents of the location family share: weights, projected, are where the distribution sits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import msgspec

from shrinkscope.errors import LatentError
from shrinkscope.latent.projection import FullDimension, GroupMeans, Projection
from shrinkscope.latent.scale import FixedScale, Scale, WeightScale
from shrinkscope.weights import PairMoments, PairSummary

if TYPE_CHECKING:
    from torch import Tensor


class Located(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A latent whose divergence is a function of the projected difference 𝒫Δ measured in units of a scale.

    Attributes:
        name: Ending of its column.
        scale: σ, fixed or the layer's own.
        projection: Weights to latent coordinates.
    """

    name: str
    scale: Scale = msgspec.field(default_factory=WeightScale)
    projection: Projection = msgspec.field(default_factory=FullDimension)

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"ap3_{self.name}"

    @property
    def groups(self) -> int | None:
        """Number of group means that it needs."""
        return self.projection.groups if isinstance(self.projection, GroupMeans) else None

    def at_scale_of(self, moments: PairMoments) -> Self:
        """The same latent with σ fixed to that of a layer, so that several divergences are between the same laws.

        Args:
            moments: Statistics of the layer whose dense weights give the scale.

        Returns:
            The latent; for a fixed scale, an equal one.

        Raises:
            LatentError: If the layer has no scale.
        """
        return msgspec.structs.replace(self, scale=FixedScale(sigma=math.sqrt(self.scale.variance(moments))))

    def projected_delta(self, summary: PairSummary) -> Tensor:
        """𝒫Δ as a float64 vector; in full dimension this reads the whole layer.

        Args:
            summary: Statistics of the layer.
        """
        return summary.delta() if self.groups is None else summary.groups[self.groups].mean_delta

    def distance(self, summary: PairSummary) -> tuple[float, int]:
        """Mahalanobis distance δ = ‖𝒫Δ‖/σ, without unit, and the number of latent coordinates.

        Args:
            summary: Statistics of the layer; its moments suffice in full dimension.

        Returns:
            δ and the dimension.

        Raises:
            LatentError: If the layer is empty or has no scale.
        """
        require_elements(summary)
        variance = self.scale.variance(summary.moments)
        if self.groups is None:
            return math.sqrt(summary.moments.square_delta / variance), summary.moments.count
        delta = summary.groups[self.groups].mean_delta
        return math.sqrt(float(delta @ delta) / variance), delta.numel()


def require_elements(summary: PairSummary) -> None:
    """Refuse a layer without weights, over which no distribution can be put.

    Raises:
        LatentError: If the layer is empty.
    """
    if summary.moments.count == 0:
        raise LatentError("the layer has no elements")


def require_degrees_of_freedom(df: float) -> None:
    """Refuse degrees of freedom that no Student-t distribution has.

    Raises:
        LatentError: If ``df`` is not a positive finite number.
    """
    if not (df > 0 and math.isfinite(df)):
        raise LatentError(f"df = {df}; expected a positive number of degrees of freedom")


def require_seed(seed: int) -> None:
    """Refuse a seed that torch's generators do not take.

    Raises:
        LatentError: If it is negative.
    """
    if seed < 0:
        raise LatentError(f"seed = {seed}; expected a non-negative integer")
