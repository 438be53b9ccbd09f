"""What every latent distribution offers: a column of the comparison, and the divergence of one layer."""

from typing import Protocol, runtime_checkable

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
