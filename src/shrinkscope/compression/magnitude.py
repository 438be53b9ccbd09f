"""Magnitude pruning: remove the weights of lowest, or of highest, absolute value."""

from collections.abc import Mapping
from functools import partial
from typing import get_args

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import as_fraction, as_layers, check_choice, check_finite, percent, where
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.ranking import Order, Scores
from shrinkscope.compression.scope import SCOPES, Scope, removed_in_scope, selected
from shrinkscope.weights import LayersLike


class MagnitudePruning(
    msgspec.Struct, frozen=True, kw_only=True, tag="magnitude", tag_field="kind", forbid_unknown_fields=True
):
    """Removes single weights by their absolute value.

    Attributes:
        level: Fraction of weights to remove, in [0, 1].
        order: Remove the lowest magnitudes (the usual choice) or the highest (the paper's adversary).
        scope: ``layer``: this fraction of every layer; ``global``: of all layers together, so that layers of small
            weights lose more; ``last``: of the last selected layer alone.
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If an option is out of range.

    Examples:
        >>> method = MagnitudePruning(level=0.5)
        >>> str(method)
        'lowest magnitude 50 % (layer)'
        >>> method.mask({"fc.weight": torch.tensor([[3.0, -1.0], [0.5, -2.0]])})["fc.weight"].tolist()
        [[True, False], [False, True]]

    Source: Han et al. (2015), "Learning both weights and connections"; the three methods of the paper's section 4.
    """

    level: float
    order: Order = "lowest"
    scope: Scope = "layer"
    layers: LayersLike = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "level", as_fraction("level", self.level))
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        check_choice("order", self.order, get_args(Order))
        check_choice("scope", self.scope, SCOPES)

    def __str__(self) -> str:
        return f"{self.order} magnitude {percent(self.level)} ({self.scope}{where(self.layers)})"

    def mask(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Mask:
        """The mask that removes exactly the asked number of weights, equal magnitudes by layer and index.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Not used; every method takes one.

        Returns:
            A mask of the selected layers.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values or is not floating point.
            SelectionError: If no layer is selected.
        """
        chosen = selected(weights, self.layers, self.scope)
        for name, weight in chosen.items():
            check_finite(name, weight)
        scores = {name: Scores(size=w.numel(), read=partial(_magnitudes, w)) for name, w in chosen.items()}
        removed = removed_in_scope(scores, self.level, self.scope, self.order)
        return Mask({name: ~removed[name].view(weight.shape) for name, weight in chosen.items()})

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights with those outside ``mask(weights)`` set to zero; layers not selected are the same tensors."""
        return self.mask(weights, generator).applied_to(weights)


def _magnitudes(weight: Tensor) -> Tensor:
    return weight.detach().reshape(-1).abs()
