"""Student-t latents t_ν(ω, σ²I): the paper's heavy-tailed latent, exact instead of sampled."""

import math

import msgspec

from shrinkscope.divergence import student_t_kl
from shrinkscope.errors import LatentError
from shrinkscope.latent.base import groups_of, isotropic_distance, require_elements
from shrinkscope.latent.projection import FullDimension, Projection
from shrinkscope.latent.scale import Scale, WeightScale
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class StudentT(
    msgspec.Struct, frozen=True, kw_only=True, tag="student_t", tag_field="kind", forbid_unknown_fields=True
):
    """t_ν(𝒫ω, σ²I): KL is a function of the latent dimension, ν and δ = ‖𝒫Δ‖/σ alone, in nats.

    It differs from the Gaussian value only by saturating logarithmically once δ is of the order of √d.

    Attributes:
        name: Ending of its column.
        df: Degrees of freedom ν > 0; the paper uses 4.
        scale: σ, fixed or the layer's own (the scale of the distribution, not its standard deviation).
        projection: Weights to latent coordinates; the paper averages into 100 groups.

    Source: paper, Section 5.3; the exact divergence is derived in docs/student-t.md.
    """

    name: str = "student_t"
    df: float = 4.0
    scale: Scale = msgspec.field(default_factory=WeightScale)
    projection: Projection = msgspec.field(default_factory=FullDimension)

    def __post_init__(self) -> None:
        if not (self.df > 0 and math.isfinite(self.df)):
            raise LatentError(f"df = {self.df}; expected a positive number of degrees of freedom")

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"ap3_{self.name}"

    @property
    def groups(self) -> int | None:
        """Number of group means that it needs."""
        return groups_of(self.projection)

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL(t_ν(𝒫ω, σ²I)‖t_ν(𝒫ω̃, σ²I)) of one layer, in nats, exact.

        Raises:
            LatentError: If the layer is empty or has no weight scale.
        """
        require_elements(summary)
        delta, dim = isotropic_distance(summary, self.projection, self.scale)
        return Quantity(value=float(student_t_kl(delta, dim=dim, df=self.df)), unit="nats")
