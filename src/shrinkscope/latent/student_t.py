"""Student-t latents t_ν(ω, σ²I): the paper's heavy-tailed latent, exact instead of sampled."""

import numpy as np

from shrinkscope.divergence.student_t_values import checked, shift_divergence
from shrinkscope.latent.located import Located, require_degrees_of_freedom
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class StudentT(Located, frozen=True, kw_only=True, tag="student_t", tag_field="kind"):
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

    def __post_init__(self) -> None:
        require_degrees_of_freedom(self.df)

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL(t_ν(𝒫ω, σ²I)‖t_ν(𝒫ω̃, σ²I)) of one layer, in nats, exact.

        Raises:
            LatentError: If the layer is empty or has no weight scale.
        """
        delta, dim = self.distance(summary)
        return Quantity(value=float(shift_divergence(np.array([delta]), *checked(dim, self.df))[0]), unit="nats")
