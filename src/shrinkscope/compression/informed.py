"""Pruning by what a Σ⁻¹ that knows the data says of each weight."""

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
from shrinkscope.errors import CompressionError, LatentError
from shrinkscope.latent import Precision, Precisions
from shrinkscope.weights import LayersLike


class InformedPruning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Removes the weights of least w²(Σ⁻¹)_ww: the pruning of least AP3 where Σ⁻¹ is diagonal.

    With the diagonal of the input moments E[xxᵀ] it ranks by |w|·‖x‖, with the Fisher diagonal by ½Fw², the
    second-order change of the prediction's divergence in nats. The latter can be compared between layers.

    Attributes:
        level: Fraction of weights to remove, in [0, 1].
        precisions: Σ⁻¹ of each layer; only its diagonal is looked at.
        order: Remove the least important weights (the usual choice) or the most important ones.
        scope: As for ``MagnitudePruning``. ``global`` compares layers, which input moments are not made for.
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If an option is out of range.

    Examples:
        >>> from shrinkscope.latent import DiagonalPrecision
        >>> seen = {"fc.weight": DiagonalPrecision(torch.tensor([1.0, 100.0, 1.0, 100.0]))}
        >>> method = InformedPruning(level=0.5, precisions=Precisions("input_diagonal", seen, {}, "two inputs"))
        >>> method.mask({"fc.weight": torch.tensor([[3.0, -1.0], [2.0, -0.5]])})["fc.weight"].tolist()
        [[False, True], [False, True]]

    Source: LeCun, Denker & Solla (1990), optimal brain damage; Sun et al. (2023), Wanda, for |w|·‖x‖.
    """

    level: float
    precisions: Precisions
    order: Order = "lowest"
    scope: Scope = "layer"
    layers: LayersLike = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "level", as_fraction("level", self.level))
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        check_choice("order", self.order, get_args(Order))
        check_choice("scope", self.scope, SCOPES)

    def __str__(self) -> str:
        return (
            f"{self.order} {self.precisions.name} importance {percent(self.level)} ({self.scope}{where(self.layers)})"
        )

    def mask(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Mask:
        """The mask that removes exactly the asked number of weights, equal importance by layer and index.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Not used; every method takes one.

        Returns:
            A mask of the selected layers.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values, is not floating point, or has no Σ⁻¹
                whose diagonal is known.
            SelectionError: If no layer is selected.
        """
        chosen = selected(weights, self.layers, self.scope)
        scores = importance_scores(chosen, self.precisions)
        removed = removed_in_scope(scores, self.level, self.scope, self.order)
        return Mask({name: ~removed[name].view(weight.shape) for name, weight in chosen.items()})

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights with those outside ``mask(weights)`` set to zero; layers not selected are the same tensors."""
        return self.mask(weights, generator).applied_to(weights)


def importance_scores(weights: Mapping[str, Tensor], precisions: Precisions) -> dict[str, Scores]:
    """w²(Σ⁻¹)_ww of every weight of some layers.

    Args:
        weights: Layer → weight.
        precisions: Σ⁻¹ of each of them.

    Returns:
        Layer → scores, twice what AP3 grows by in nats when that weight alone goes.

    Raises:
        CompressionError: As for ``InformedPruning.mask``.
    """
    found = {}
    for name, weight in weights.items():
        check_finite(name, weight)
        precision = precision_of(precisions, name, weight)
        try:
            diagonal = precision.diagonal()
        except LatentError as error:
            raise CompressionError(f"{name} cannot be ranked: {error}") from error
        found[name] = Scores(size=weight.numel(), read=partial(_weighted, weight, diagonal))
    return found


def precision_of(precisions: Precisions, name: str, weight: Tensor) -> Precision:
    """The Σ⁻¹ of a layer that is to be compressed.

    Args:
        precisions: Σ⁻¹ of the layers.
        name: The layer.
        weight: Its weight.

    Raises:
        CompressionError: If there is none, or one of another size.
    """
    try:
        return precisions.of(name, weight.numel())
    except LatentError as error:
        raise CompressionError(f"{name} cannot be ranked: {error}; or leave it out with layers=…") from error


def _weighted(weight: Tensor, diagonal: Tensor) -> Tensor:
    return weight.detach().reshape(-1).to("cpu", torch.float64).square() * diagonal
