"""Sums over a pair of tensors as mergeable partial statistics: update by chunk, merge, read off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.kernel import Numbers, pair_sums

if TYPE_CHECKING:
    from torch import Tensor


class PairMoments(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and float64 sums over the elements of a pair (dense ω, compressed ω̃), Δ = ω − ω̃.

    A value, not an accumulator: ``update`` and ``merge`` return new ones, so that chunks, threads and machines combine
    in any grouping.

    Attributes:
        count: Elements seen.
        zeros_dense, zeros_compressed: Elements equal to zero on each side.
        zeros_gained, zeros_lost: Elements that became zero, and that ceased to be zero.
        changed: Elements whose values differ.
        bits_differ: Elements whose bits differ; None when the sides are stored in different types.
        nonfinite_dense, nonfinite_compressed: NaN and infinite elements on each side.
        square_dense, square_compressed, square_delta, product: Σω², Σω̃², ΣΔ² and Σωω̃; NaN when there is a value
            that is not finite.
        largest_delta: max |Δ|.
    """

    count: int = 0
    zeros_dense: int = 0
    zeros_compressed: int = 0
    zeros_gained: int = 0
    zeros_lost: int = 0
    changed: int = 0
    bits_differ: int | None = 0
    nonfinite_dense: int = 0
    nonfinite_compressed: int = 0
    square_dense: float = 0.0
    square_compressed: float = 0.0
    square_delta: float = 0.0
    product: float = 0.0
    largest_delta: float = 0.0

    def update(self, dense: Tensor | Numbers, compressed: Tensor | Numbers, *, exact: bool = True) -> "PairMoments":
        """These statistics with one more chunk.

        Args:
            dense: A flat piece of ω, any floating dtype.
            compressed: The same elements of ω̃.
            exact: Float64 sums throughout; otherwise those of 16-bit types may be off by 1e-7 (see ``pair_sums``).

        Returns:
            The statistics of everything seen so far.
        """
        sums = pair_sums(dense, compressed, exact=exact)
        found = PairMoments(
            count=dense.count if isinstance(dense, Numbers) else dense.numel(), **msgspec.structs.asdict(sums)
        )
        if not found.finite:
            # The kernel leaves such elements out; sums over the others would pass for sums over all.
            undefined = dict.fromkeys(("square_dense", "square_compressed", "square_delta", "product"), math.nan)
            found = msgspec.structs.replace(found, **undefined)
        return self.merge(found)

    def merge(self, other: "PairMoments") -> "PairMoments":
        """The statistics of two disjoint sets of elements together."""
        mine, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        comparable = self.bits_differ is not None and other.bits_differ is not None
        total = {name: mine[name] + theirs[name] for name in mine if name != "bits_differ"}
        total["largest_delta"] = max(self.largest_delta, other.largest_delta)
        return PairMoments(bits_differ=mine["bits_differ"] + theirs["bits_differ"] if comparable else None, **total)

    @property
    def finite(self) -> bool:
        """Whether every element on both sides is a finite number."""
        return not (self.nonfinite_dense or self.nonfinite_compressed)

    @property
    def root_mean_square_dense(self) -> float:
        """√(Σω²/d), the weight scale of the layer; zero when it is empty."""
        return math.sqrt(self.square_dense / self.count) if self.count else 0.0
