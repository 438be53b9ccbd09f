"""Which kept channels a bias or a normalisation has: those of its layer, or those whose values fit best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shrinkscope.deferred import torch
from shrinkscope.weights.mapping.kept import KeptSet
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_CLEAR = 4.0


def choose_set(
    vectors: Sequence[tuple[TensorView, TensorView]],
    candidates: Sequence[tuple[KeptSet, Tensor]],
    nearest: KeptSet | None,
) -> KeptSet | None:
    """The kept channels of the 1-D tensors of one module.

    Args:
        vectors: The module's tensors, before and after.
        candidates: Sets of their sizes.
        nearest: The set of the layer that stands before them in the network.

    Returns:
        The candidate with the least squared difference between kept values before and values after. Unless it is four
        times less than the nearest layer's, that one: constants, and values of little spread, fit any set. None when
        there is no candidate.
    """
    errors = {id(one): _error(vectors, index) for one, index in candidates}
    if not errors:
        return None
    best = min((one for one, _ in candidates), key=lambda one: errors[id(one)])
    if nearest is not None and id(nearest) in errors and errors[id(nearest)] <= _CLEAR * errors[id(best)]:
        return nearest
    return best


def _error(vectors: Sequence[tuple[TensorView, TensorView]], index: Tensor) -> float:
    """Mean over the tensors of Σ(kept − after)²/Σ(after − mean)²."""
    total = 0.0
    for before, after in vectors:
        kept, now = before.read().to(torch.float64)[index], after.read().to(torch.float64)
        spread = float(((now - now.mean()) ** 2).sum())
        total += float(((kept - now) ** 2).sum()) / spread if spread else 0.0
    return total / len(vectors)


def modules(names: Mapping[str, object]) -> dict[str, list[str]]:
    """Names by the module that they belong to, in order."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(name.rpartition(".")[0], []).append(name)
    return grouped
