"""Sets of kept channels: given, or found in one layer and tried on the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.errors import PairingError
from shrinkscope.weights.mapping.matching import Match
from shrinkscope.weights.view import Weights

if TYPE_CHECKING:
    from torch import Tensor

TRIED = 8
"""Sets tried on one dimension of one layer, those used last first."""


class KeptSet(msgspec.Struct, kw_only=True, eq=False):
    """Channels that structured pruning kept, shared by all layers that read or write them.

    Attributes:
        size: Channels before.
        kept: Their indices, in the order of the pruned network.
        sure: Which of them are certain.
        origin: Where the set comes from, for people.
        certainty: Share of certain matches, in the layer where it was found or in all that share it; 1 when given.
        used: Position of the layer that used it last.
    """

    size: int
    kept: Tensor
    sure: Tensor
    origin: str
    certainty: float
    used: int


class KeptSets:
    """All sets known so far."""

    def __init__(self) -> None:
        self._sets: list[KeptSet] = []

    def add(self, new: KeptSet) -> KeptSet:
        """Take in a set; the same indices of the same size are one set."""
        for old in self._sets:
            if old.size == new.size and torch.equal(old.kept, new.kept):
                old.used, old.certainty, old.sure = new.used, max(old.certainty, new.certainty), old.sure | new.sure
                return old
        self._sets.append(new)
        return new

    def fitting(self, size: int, left: int, *, blocks: bool = True) -> list[tuple[KeptSet, Tensor]]:
        """Sets with which ``left`` of ``size`` channels remain, each with the indices.

        Args:
            size: Channels before.
            left: Channels after.
            blocks: Whether also sets whose every channel stands for a block of equal length, as columns of a linear
                layer do behind a flattened convolution.
        """
        found = []
        for one in sorted(self._sets, key=lambda one: -one.used):
            block, remainder = divmod(size, one.size)
            if remainder or left != block * len(one.kept) or (block > 1 and not blocks):
                continue
            found.append((one, spread(one, size)))
        return found[:TRIED]

    def __iter__(self) -> Iterator[KeptSet]:
        return iter(self._sets)


def spread(one: KeptSet, size: int) -> Tensor:
    """The indices along a dimension of ``size``, in which every channel of the set is a block of equal length."""
    block = size // one.size
    return (one.kept[:, None] * block + torch.arange(block)).reshape(-1)


def agreeing(found: Match, candidates: Sequence[tuple[KeptSet, Tensor]]) -> KeptSet | None:
    """The set that agrees with a match wherever both are certain, and both are in half of the channels; else None."""
    for one, index in candidates:
        both = found.sure & one.sure.repeat_interleave(len(index) // len(one.kept))
        if 2 * int(both.sum()) >= len(index) and torch.equal(index[both], found.kept[both]):
            return one
    return None


def given_sets(kept: Mapping[str, Sequence[int]], dense: Weights, compressed: Weights) -> dict[tuple[str, int], Tensor]:
    """The user's kept channels by tensor and dimension.

    Args:
        kept: Layer, tensor, or ``"tensor[1]"`` → indices.
        dense: The network before.
        compressed: The network after, under the dense one's names.

    Raises:
        PairingError: If a layer is unknown, or the indices do not belong to its two shapes.
    """
    found = {}
    for key, indices in kept.items():
        name, bracket, axis = key.rstrip("]").partition("[")
        if (bracket and axis not in ("0", "1")) or key.count("]") != len(bracket):
            raise PairingError(
                f"kept channels of {key!r}: expected a layer's name, or a tensor's with [0] or [1] behind it"
            )
        name = name if name in dense else f"{name}.weight"
        if name not in dense or name not in compressed:
            raise PairingError(
                f"kept channels of {key!r}: no such layer in both networks; the names are like {next(iter(dense))}"
            )
        dimension = int(axis or 0)
        _check(key, list(indices), dense[name].shape[dimension:], compressed[name].shape[dimension:])
        found[name, dimension] = torch.tensor(list(indices), dtype=torch.long)
    return found


def _check(key: str, indices: list[int], before: tuple[int, ...], after: tuple[int, ...]) -> None:
    if not before or not after:
        raise PairingError(f"kept channels of {key!r}: the tensor has no such dimension")
    if len(indices) != after[0]:
        raise PairingError(f"kept channels of {key!r}: {len(indices)} indices given, and {after[0]} channels are left")
    if len(set(indices)) != len(indices) or any(not 0 <= index < before[0] for index in indices):
        raise PairingError(f"kept channels of {key!r}: expected different indices from 0 to {before[0] - 1}")
