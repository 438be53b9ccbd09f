"""Latents whose Σ⁻¹ comes from data: the layer's inputs, the Fisher information, or any other precision."""

import math

import msgspec

from shrinkscope.divergence import student_t_kl
from shrinkscope.errors import LatentError
from shrinkscope.latent.located import require_degrees_of_freedom, require_elements
from shrinkscope.latent.precision import Precision
from shrinkscope.latent.precisions import Precisions
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class Informed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A latent whose divergence is a function of δ² = Δᵀ(Σ⁻¹ + λI)Δ, with Σ⁻¹ a matrix for each layer.

    Attributes:
        precisions: Σ⁻¹ of each layer.
        name: Ending of its column; made from that of ``precisions`` when None.
        damping: λ as a multiple of the mean eigenvalue of each layer's Σ⁻¹. AP3 is that of the damped Σ.
        relative: Whether Σ⁻¹ is divided by ωᵀΣ⁻¹ω of the dense weights ω: then δ² is relative, for the input moment
            the energy of the layer's output error over that of its output.
    """

    precisions: Precisions
    name: str | None = None
    damping: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        if not (self.damping >= 0 and math.isfinite(self.damping)):
            raise LatentError(f"damping = {self.damping}; expected a finite number, at least 0")

    @property
    def groups(self) -> int | None:
        """No group means are needed."""
        return None

    @property
    def stem(self) -> str:
        """Ending of the column of a Gaussian with these settings."""
        return f"relative_{self.precisions.name}" if self.relative else self.precisions.name

    def square_distance(self, summary: PairSummary) -> tuple[float, Precision]:
        """δ², without unit, and Σ⁻¹ of the layer before damping.

        Args:
            summary: Statistics of the layer, under the name that its precision has.

        Raises:
            LatentError: If the layer is empty, has no Σ⁻¹, or is to be measured against an output that is zero.
        """
        require_elements(summary)
        precision = self.precisions.of(summary.pair.dense.name, summary.moments.count)
        delta = summary.delta()
        square = precision.quadratic(delta)
        if self.damping:
            square += self.damping * precision.trace() / precision.dim * float(delta @ delta)
        if self.relative:
            energy = precision.quadratic(summary.dense())
            if energy == 0.0:
                raise LatentError("ωᵀΣ⁻¹ω is zero for the dense weights: there is nothing to measure against")
            square /= energy
        return square, precision


class InformedGaussian(Informed, frozen=True, kw_only=True, tag="informed_gaussian", tag_field="kind"):
    """N(ω, Σ) with Σ⁻¹ from data: KL = ½ΔᵀΣ⁻¹Δ, in nats.

    With Σ⁻¹ = I ⊗ E[xxᵀ] this is half the layer's expected squared output error; with the Fisher information, the
    second-order estimate of the KL divergence of the network's predictions. A singular Σ⁻¹ (dead features, fewer inputs
    than weights in a row) needs no damping: the divergence is the limit of that of Σ⁻¹ + λI as λ → 0, where a change
    along which nothing is known to happen costs nothing.

    Attributes:
        precisions, name, damping, relative: As for ``Informed``.

    Source: paper, Eq. (3) with Σ = Σ̃; the limit is derived here, tests/latent/test_informed.py.
    """

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"ap3_{self.name or self.stem}"

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL of one layer, in nats, exact for its Σ⁻¹.

        Raises:
            LatentError: As for ``square_distance``.
        """
        return Quantity(value=0.5 * self.square_distance(summary)[0], unit="nats")


class InformedStudentT(Informed, frozen=True, kw_only=True, tag="informed_student_t", tag_field="kind"):
    """t_ν(ω, Σ) with Σ⁻¹ from data: KL is a function of δ, ν and the number of weights alone, in nats.

    A singular Σ⁻¹ is no such distribution: over the subspace where Σ⁻¹ acts, the dimension in that function is its
    rank; over all weights, as a limit, their number; and the two differ. Hence the damping, without which a singular
    Σ⁻¹ is refused.

    Attributes:
        precisions, name, relative: As for ``Informed``.
        damping: As for ``Informed``; 1e-6 changes δ² by less than a millionth for changes in directions of mean
            curvature, and makes every Σ⁻¹ regular that is not zero.
        df: Degrees of freedom ν > 0; the paper uses 4.

    Source: paper, Section 5.3; the exact divergence is derived in docs/student-t.md.
    """

    damping: float = 1e-6
    df: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_degrees_of_freedom(self.df)

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"ap3_{self.name or f'student_t_{self.stem}'}"

    def divergence(self, summary: PairSummary) -> Quantity:
        """KL of one layer, in nats, exact for its Σ⁻¹.

        Raises:
            LatentError: As for ``square_distance``; and if the damped Σ⁻¹ is singular, with its rank.
        """
        square, precision = self.square_distance(summary)
        regular = self.damping > 0 and precision.trace() > 0
        if not regular and (rank := precision.rank()) < precision.dim:
            raise LatentError(
                f"Σ⁻¹ has rank {rank} of {precision.dim}, and no Student-t distribution has it; give more inputs or a "
                "positive damping"
            )
        return Quantity(value=float(student_t_kl(math.sqrt(square), dim=precision.dim, df=self.df)), unit="nats")
