"""Sums over a pair of tensors as mergeable partial statistics: update by chunk, merge, read off."""

import math

import msgspec
import torch
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
        nonfinite_dense, nonfinite_compressed: NaN and infinite elements on each side.
        square_dense, square_compressed, square_delta, product: Σω², Σω̃², ΣΔ² and Σωω̃.
        largest_delta: max |Δ|.
    """

    count: int = 0
    zeros_dense: int = 0
    zeros_compressed: int = 0
    zeros_gained: int = 0
    zeros_lost: int = 0
    changed: int = 0
    nonfinite_dense: int = 0
    nonfinite_compressed: int = 0
    square_dense: float = 0.0
    square_compressed: float = 0.0
    square_delta: float = 0.0
    product: float = 0.0
    largest_delta: float = 0.0

    def update(self, dense: Tensor, compressed: Tensor) -> "PairMoments":
        """These statistics with one more chunk.

        Args:
            dense: A flat piece of ω, any floating dtype; converted to float64 before anything is summed.
            compressed: The same elements of ω̃.

        Returns:
            The statistics of everything seen so far.
        """
        return self.merge(_moments(dense.to(torch.float64), compressed.to(torch.float64)))

    def merge(self, other: "PairMoments") -> "PairMoments":
        """The statistics of two disjoint sets of elements together."""
        mine, theirs = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        total = {name: mine[name] + theirs[name] for name in mine}
        total["largest_delta"] = max(self.largest_delta, other.largest_delta)
        return PairMoments(**total)

    @property
    def finite(self) -> bool:
        """Whether every element on both sides is a finite number."""
        return not (self.nonfinite_dense or self.nonfinite_compressed)

    @property
    def root_mean_square_dense(self) -> float:
        """√(Σω²/d), the weight scale of the layer; zero when it is empty."""
        return math.sqrt(self.square_dense / self.count) if self.count else 0.0


def _moments(dense: Tensor, compressed: Tensor) -> PairMoments:
    delta = dense - compressed
    before, after = dense == 0, compressed == 0
    return PairMoments(
        count=dense.numel(),
        zeros_dense=_count(before),
        zeros_compressed=_count(after),
        zeros_gained=_count(after & ~before),
        zeros_lost=_count(before & ~after),
        changed=_count(dense != compressed),
        nonfinite_dense=_count(~torch.isfinite(dense)),
        nonfinite_compressed=_count(~torch.isfinite(compressed)),
        square_dense=float(torch.dot(dense, dense)),
        square_compressed=float(torch.dot(compressed, compressed)),
        square_delta=float(torch.dot(delta, delta)),
        product=float(torch.dot(dense, compressed)),
        largest_delta=float(delta.abs().max()) if delta.numel() else 0.0,
    )


def _count(condition: Tensor) -> int:
    return int(torch.count_nonzero(condition))
