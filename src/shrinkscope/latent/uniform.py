"""Uniform latents: the exact statement behind the paper's pairing of uniform distributions with the squared L2 norm."""

import msgspec

from shrinkscope.latent.located import require_elements
from shrinkscope.quantity import Quantity
from shrinkscope.weights import PairSummary


class Uniform(msgspec.Struct, frozen=True, kw_only=True, tag="uniform", tag_field="kind", forbid_unknown_fields=True):
    """Uniform distributions on equal boxes centred at ω and ω̃: W₂² = ‖Δ‖² = AP2, whatever the size of the boxes.

    Their KL divergence is infinite as soon as ω and ω̃ differ, because neither box contains the other; the squared
    2-Wasserstein distance is the statement that holds.

    Attributes:
        name: Ending of its column.

    Source: paper, Section 1 ("uniform and the distance is L2-norm"); made exact here, tests/latent/test_uniform.py.
    """

    name: str = "uniform"

    @property
    def column(self) -> str:
        """Name of its column."""
        return f"w2_{self.name}"

    @property
    def groups(self) -> int | None:
        """No group means are needed."""
        return None

    def divergence(self, summary: PairSummary) -> Quantity:
        """W₂² between the two uniform distributions, in squared weight units, exact.

        Raises:
            LatentError: If the layer is empty.
        """
        require_elements(summary)
        return Quantity(value=summary.moments.square_delta, unit="weight²")
