"""The Student-t latent as the paper estimates it: by sampling, with the noise that this has."""

import hashlib
import math
from typing import Literal

import msgspec
import torch
from torch import Tensor

from shrinkscope.divergence.student_t_sampled import sampled_student_t_kl, scalar_student_t_kl
from shrinkscope.errors import LatentError
from shrinkscope.latent.located import Located, require_degrees_of_freedom, require_elements, require_seed
from shrinkscope.latent.projection import GroupMeans, Projection
from shrinkscope.latent.scale import FixedScale, Scale
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class SampledStudentT(Located, frozen=True, kw_only=True, tag="sampled_student_t", tag_field="kind"):
    """t_ν(𝒫ω, σ²I) as the paper has it: KL estimated from samples of all latent coordinates, in nats.

    It is there to reproduce the published figures and to show their noise; `StudentT` with the same settings is the
    exact value, some ten thousand times faster. Samples are drawn anew for each layer, and standard errors add up in
    sums over layers. A layer that has not changed costs nothing: its ratio of densities is 1 whatever is drawn.

    Attributes:
        name: Ending of its column.
        df: Degrees of freedom ν > 0; the paper uses 4.
        samples: Samples a repeat; the paper uses 600,000.
        repeats: Repeats that are averaged; the paper uses 100.
        draws: ``coordinates``: as many normal numbers a sample as there are coordinates, as in the paper; ``distance``:
            a radius and an angle a sample, which give the estimate exactly the same law in less time.
        common: True: all layers and methods with as many coordinates see the same draws (common random numbers), so
            that much of the noise cancels in differences of methods; False: each difference of weights has draws of
            its own, as the paper's have: the noise that its comparisons of methods have.
        seed: Seed of the samples.
        scale: σ, fixed or the layer's own; the paper uses the identity scale.
        projection: Weights to latent coordinates; the paper averages into 100 groups.

    Source: paper, Section 5.3.
    """

    name: str = "student_t_sampled"
    df: float = 4.0
    samples: int = 600_000
    repeats: int = 1
    draws: Literal["coordinates", "distance"] = "coordinates"
    common: bool = True
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
        delta = self.projected_delta(summary) / math.sqrt(self.scale.variance(summary.moments))
        distance = float(torch.linalg.vector_norm(delta))
        if distance == 0:
            return Quantity(value=0.0, unit="nats", status="estimate", standard_error=0.0)
        generator = torch.Generator().manual_seed(self.seed if self.common else _own_seed(self.seed, delta))
        if self.draws == "distance":
            return scalar_student_t_kl(
                distance,
                dim=delta.numel(),
                df=self.df,
                samples=self.samples,
                repeats=self.repeats,
                generator=generator,
            )
        return sampled_student_t_kl(delta, df=self.df, samples=self.samples, repeats=self.repeats, generator=generator)


def _own_seed(seed: int, delta: Tensor) -> int:
    """A seed for one difference of locations: the same for equal ones, another for any other."""
    values = delta.detach().to("cpu", torch.float64).contiguous().view(torch.uint8).numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(values, digest_size=8, key=str(seed).encode()).digest(), "big") >> 1
