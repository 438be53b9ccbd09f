"""What every latent distribution offers: a column of the comparison, and the divergence of one layer."""

import math
from typing import Protocol, runtime_checkable

from shrinkscope.errors import LatentError
from shrinkscope.latent.projection import GroupMeans, Projection
from shrinkscope.latent.scale import Scale
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


@runtime_checkable
class Latent(Protocol):
    """A choice of P_ω in the paper's Definition 2.2, or of a distance that takes its place.

    A user's own latent is any frozen object with these three members; nothing has to be registered.
    """

    @property
    def column(self) -> str:
        """Name of its column, for example ``"ap3_gaussian"``."""
        ...

    @property
    def groups(self) -> int | None:
        """Number of group means that it needs, or None when the moments or Δ itself suffice."""
        ...

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL(P_ω‖P_ω̃) of one layer.

        Raises:
            LatentError: If it is undefined for this layer; the message is the reason shown in its row.
        """
        ...


def groups_of(projection: Projection) -> int | None:
    """The number of group means that a projection asks for."""
    return projection.groups if isinstance(projection, GroupMeans) else None


def isotropic_distance(summary: PairSummary, projection: Projection, scale: Scale) -> tuple[float, int]:
    """Mahalanobis distance δ = √(ΔᵀΣ⁻¹Δ) of the projected weights under Σ = σ²I, and the latent dimension.

    Args:
        summary: Statistics of the layer.
        projection: From weights to latent coordinates.
        scale: σ.

    Returns:
        δ without unit, and the number of latent coordinates.

    Raises:
        LatentError: If the layer has no scale.
    """
    variance = scale.variance(summary.moments)
    groups = groups_of(projection)
    if groups is None:
        return math.sqrt(summary.moments.square_delta / variance), summary.moments.count
    delta = summary.groups[groups].mean_delta
    return math.sqrt(float(delta @ delta) / variance), delta.numel()


def require_elements(summary: PairSummary) -> None:
    """Refuse a layer without weights, over which no distribution can be put.

    Raises:
        LatentError: If the layer is empty.
    """
    if summary.moments.count == 0:
        raise LatentError("the layer has no elements")
