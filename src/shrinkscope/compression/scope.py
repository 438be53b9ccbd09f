"""Which layers a method acts on, and whether their weights are ranked layer by layer or all together."""

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from shrinkscope.compression.checks import listing
from shrinkscope.compression.count import nearest_count
from shrinkscope.compression.ranking import Order, Scores, removed_by_rank
from shrinkscope.errors import SelectionError
from shrinkscope.weights import LayerSelection, LayersLike, Role

Scope = Literal["layer", "global", "last"]
"""``layer``: the level holds in each layer; ``global``: over all layers together; ``last``: in the last one alone."""

SCOPES: tuple[Scope, ...] = get_args(Scope)


def selected(weights: Mapping[str, Tensor], layers: LayersLike, scope: Scope = "layer") -> dict[str, Tensor]:
    """The weights that a method acts on.

    Args:
        weights: Layer → weight in the order of registration, as ``compressible`` returns them.
        layers: Which of them. Roles are told from the shape alone: two dimensions are linear, more a convolution.
        scope: With ``last`` only the last selected layer remains.

    Returns:
        Those weights in the same order, at least one.

    Raises:
        SelectionError: If no layer is left.
    """
    selection = LayerSelection.of(layers)
    chosen = {name: weight for name, weight in weights.items() if selection.matches(name, _role(weight))}
    if not chosen:
        raise SelectionError(f"layers={layers!r} selects nothing to compress; the layers are {listing(weights)}")
    return dict(list(chosen.items())[-1:]) if scope == "last" else chosen


def removed_in_scope(scores: Mapping[str, Scores], level: float, scope: Scope, order: Order) -> dict[str, Tensor]:
    """Which scores fall to a level within its scope.

    Args:
        scores: Layer → scores, in the order of registration.
        level: Fraction of them to remove, in [0, 1].
        scope: Whether the level holds in each layer or over all of them together.
        order: Whether the lowest or the highest go.

    Returns:
        Layer → flat bool tensor, True where removed. The number of True entries is exact: the nearest integer to
        level × size in each layer, or to level × total size for ``global``.
    """
    groups = [list(scores)] if scope == "global" else [[name] for name in scores]
    removed: dict[str, Tensor] = {}
    for names in groups:
        group = [scores[name] for name in names]
        number = nearest_count(level, sum(layer.size for layer in group))
        removed.update(zip(names, removed_by_rank(group, number, order), strict=True))
    return removed


def _role(weight: Tensor) -> Role:
    # Only convolutions and linear layers are compressible, and a mapping of tensors keeps no more than their shapes;
    # guessing from names would let "embed_proj.weight" fall out of a selection of linear layers.
    return {0: "other", 1: "other", 2: "linear"}.get(weight.dim(), "convolution")  # type: ignore[return-value]
