"""Mask drift: removed weights that came back to life."""

import msgspec
import torch
from torch import nn

from shrinkscope.compression.locate import unknown_layer
from shrinkscope.compression.mask import Mask
from shrinkscope.weights import open_weights


class LayerDrift(msgspec.Struct, frozen=True, kw_only=True):
    """Drift of one layer.

    Attributes:
        layer: Its name.
        removed: Weights that the mask removes, a count.
        nonzero: How many of those are not zero now, a count; NaN is not zero.
    """

    layer: str
    removed: int
    nonzero: int


class MaskDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How far a network has left its mask.

    Attributes:
        rows: One row for each layer of the mask, in its order.
    """

    rows: tuple[LayerDrift, ...]

    @property
    def removed(self) -> int:
        """Weights that the mask removes, over all layers."""
        return sum(row.removed for row in self.rows)

    @property
    def nonzero(self) -> int:
        """How many of them are not zero now."""
        return sum(row.nonzero for row in self.rows)

    @property
    def drifted(self) -> bool:
        """Whether any removed weight is not zero now."""
        return self.nonzero > 0

    def message(self) -> str:
        """The finding in one line, with what to do about it."""
        if not self.drifted:
            return f"no mask drift: all {self.removed} removed weights are zero"
        moved = [row for row in self.rows if row.nonzero]
        worst = max(moved, key=lambda row: row.nonzero)
        return (
            f"mask drift: {self.nonzero} of {self.removed} removed weights are not zero, in {len(moved)} of "
            f"{len(self.rows)} layers, most in {worst.layer} ({worst.nonzero} of {worst.removed}); "
            "hold(model, mask) keeps them at zero through training"
        )


def mask_drift(model: nn.Module, mask: Mask) -> MaskDrift:
    """Count the removed weights that are not zero now.

    Args:
        model: The network, plain, held, or under ``torch.nn.utils.prune``: effective weights count.
        mask: The mask that it was pruned with.

    Returns:
        One row for each layer of the mask; exact counts.

    Raises:
        CompressionError: If a layer of the mask is missing or has another shape.
    """
    weights = open_weights(model)
    rows = []
    for name, kept in mask.items():
        view = weights.get(weights.tied.get(name, name))
        if view is None:
            raise unknown_layer(model, name)
        weight = view.read()
        mask.check_shape(name, weight)
        alive = (weight != 0) & ~kept.to(weight.device)
        rows.append(LayerDrift(layer=name, removed=mask.removed(name), nonzero=int(torch.count_nonzero(alive))))
    return MaskDrift(rows=tuple(rows))
