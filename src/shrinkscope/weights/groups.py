"""Means over consecutive groups of weights, as a mergeable partial statistic: the paper's averaging into 100 groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.kernel import Numbers, as_tensor

if TYPE_CHECKING:
    from torch import Tensor


class GroupSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of ω and ω̃ over consecutive groups of ``length`` elements of the flattened tensor.

    Attributes:
        length: Elements a group; the last group holds what remains.
        total: Elements of the whole tensor.
        dense, compressed: float64 sums, shape (groups,).
    """

    length: int
    total: int
    dense: Tensor
    compressed: Tensor

    @staticmethod
    def empty(total: int, groups: int) -> "GroupSums":
        """Sums of nothing yet, for a tensor of ``total`` elements.

        Args:
            total: Elements of the tensor.
            groups: Groups asked for. The length is ⌊total/groups⌋ and at least one, as in the paper's released
                procedure; a remainder makes further groups, and a tensor with fewer elements has one group an element.
        """
        length = max(1, total // groups)
        count = -(-total // length)
        zeros = torch.zeros(count, dtype=torch.float64)
        return GroupSums(length=length, total=total, dense=zeros, compressed=zeros)

    def update(self, dense: Tensor | Numbers, compressed: Tensor | Numbers, start: int) -> "GroupSums":
        """These sums with one more chunk.

        Args:
            dense: A flat piece of ω.
            compressed: The same elements of ω̃.
            start: Index of its first element in the flattened tensor.

        Returns:
            The sums of everything seen so far.
        """
        return msgspec.structs.replace(
            self,
            dense=self.dense + self._sums(as_tensor(dense), start),
            compressed=self.compressed + self._sums(as_tensor(compressed), start),
        )

    def _sums(self, values: Tensor, start: int) -> Tensor:
        """Float64 sums over the groups of a chunk: of its first group, of the whole ones between, and of its last."""
        sums = torch.zeros_like(self.dense)
        stop = start + values.numel()
        first, last = -(-start // self.length), stop // self.length
        if first > last:  # within one group
            sums[stop // self.length] = values.sum(dtype=torch.float64)
            return sums
        head, tail = first * self.length - start, last * self.length - start
        if head:
            sums[first - 1] = values[:head].sum(dtype=torch.float64)
        sums[first:last] = values[head:tail].reshape(-1, self.length).sum(dim=1, dtype=torch.float64)
        if tail < values.numel():
            sums[last] += values[tail:].sum(dtype=torch.float64)
        return sums

    def merge(self, other: "GroupSums") -> "GroupSums":
        """The sums of two disjoint sets of elements of one tensor together."""
        return msgspec.structs.replace(
            self, dense=self.dense + other.dense, compressed=self.compressed + other.compressed
        )

    @property
    def mean_delta(self) -> Tensor:
        """Difference of the group means, dense − compressed, shape (groups,)."""
        sizes = torch.full_like(self.dense, self.length)
        if sizes.numel():
            sizes[-1] = self.total - self.length * (sizes.numel() - 1)
        return (self.dense - self.compressed) / sizes
