"""The Student-t latent as the paper estimates it: by sampling, with the noise that this has."""

import math

import msgspec
import torch

from shrinkscope.divergence.student_t_sampled import sampled_student_t_kl
from shrinkscope.errors import LatentError
from shrinkscope.latent.located import Located, require_degrees_of_freedom, require_elements, require_seed
from shrinkscope.latent.projection import GroupMeans, Projection
from shrinkscope.latent.scale import FixedScale, Scale
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class SampledStudentT(Located, frozen=True, kw_only=True, tag="sampled_student_t", tag_field="kind"):
    """t_ν(𝒫ω, σ²I) as the paper has it: KL estimated from samples of all latent coordinates, in nats.

    It is there to reproduce the published figures and to show their noise; `StudentT` with the same settings is the
    exact value, some ten thousand times faster. Samples are drawn from the generator of ``seed`` anew for each layer,
    so that all layers and methods with as many latent coordinates see the same draws (common random numbers): much of
    the noise cancels in differences of methods, and none of it in sums over layers, whose standard errors add up. It
    costs samples × repeats × coordinates normal numbers a layer, so that it is meant for group means.

    Attributes:
        name: Ending of its column.
        df: Degrees of freedom ν > 0; the paper uses 4.
        samples: Samples a repeat; the paper uses 600,000.
        repeats: Repeats that are averaged; the paper uses 100.
        seed: Seed of the samples.
        scale: σ, fixed or the layer's own; the paper uses the identity scale.
        projection: Weights to latent coordinates; the paper averages into 100 groups.

    Source: paper, Section 5.3.
    """

    name: str = "student_t_sampled"
    df: float = 4.0
    samples: int = 600_000
    repeats: int = 1
    seed: int = 0
    scale: Scale = msgspec.field(default_factory=FixedScale)
    projection: Projection = msgspec.field(default_factory=GroupMeans)

    def __post_init__(self) -> None:
        require_degrees_of_freedom(self.df)
        if self.samples < 2:
            raise LatentError(f"samples = {self.samples}; expected at least 2, for a standard error")
        if self.repeats < 1:
            raise LatentError(f"repeats = {self.repeats}; expected at least 1")
        require_seed(self.seed)

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL of one layer, in nats: an estimate with its standard error, `unresolved` where it is noise.

        Raises:
            LatentError: If the layer is empty or has no weight scale.
        """
        require_elements(summary)
        return sampled_student_t_kl(
            self.projected_delta(summary) / math.sqrt(self.scale.variance(summary.moments)),
            df=self.df,
            samples=self.samples,
            repeats=self.repeats,
            generator=torch.Generator().manual_seed(self.seed),
        )
