"""The paper's projection 𝒫 of a layer's weights into the latent space: none, or means over consecutive groups."""

import msgspec

from shrinkscope.errors import LatentError


class FullDimension(
    msgspec.Struct, frozen=True, kw_only=True, tag="full", tag_field="kind", forbid_unknown_fields=True
):
    """The identity: one latent coordinate a weight."""


class GroupMeans(
    msgspec.Struct, frozen=True, kw_only=True, tag="group_means", tag_field="kind", forbid_unknown_fields=True
):
    """Means over consecutive groups of weights, as the paper does before estimating the Student-t divergence.

    Averaging n weights into G groups shrinks δ² by about (n/G)² when the signs of Δ are random, so that layers of
    different size are no longer on one scale; the paper's choice, offered by name, never by default.

    Attributes:
        groups: Number of groups asked for; the length of one is ⌊n/groups⌋ and a remainder makes further groups.
    """

    groups: int = 100

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise LatentError(f"groups = {self.groups}; expected at least 1")


Projection = FullDimension | GroupMeans
