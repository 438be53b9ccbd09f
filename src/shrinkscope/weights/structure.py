"""What the values of a tensor tell of its compression: how many distinct ones there are, and N:M patterns of zeros."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shrinkscope.kernel import GROUPS, Numbers, distinct_values, merge_distinct, most_in_groups

if TYPE_CHECKING:
    from torch import Tensor


class Structure(msgspec.Struct, frozen=True, kw_only=True):
    """Distinct values and the fullest groups of one tensor, of which those of its parts are merged.

    Attributes:
        shape: Shape of the tensor, whose last dimension the groups run along.
        values: Bit patterns of the distinct values, None when there are more than 1,024.
        most: The most non-zero elements in any group of 2, 4, 8 and 16; None when each is known to exceed its half.
    """

    shape: tuple[int, ...]
    values: np.ndarray | None
    most: tuple[int, ...] | None

    @staticmethod
    def nothing(shape: tuple[int, ...]) -> "Structure":
        """Of a tensor of which nothing has been seen.

        Args:
            shape: Its shape.
        """
        grouped = len(shape) >= 2 and any(shape[-1] % length == 0 for length in GROUPS)
        return Structure(shape=shape, values=np.empty(0, dtype=np.uint64), most=(0,) * len(GROUPS) if grouped else None)

    def of(self, values: Tensor | Numbers) -> "Structure":
        """That of a further part of the same tensor alone; what has been given up here is not looked for.

        Args:
            values: Flat; begins where a group of 16 begins.
        """
        values = values if isinstance(values, Numbers) else values.to("cpu")
        most = None if self.most is None else most_in_groups(values)
        if most is not None and all(full > length // 2 for full, length in zip(most, GROUPS, strict=True)):
            most = None
        distinct = None if self.values is None else distinct_values(values)
        return msgspec.structs.replace(self, values=distinct, most=most)

    def merge(self, other: "Structure") -> "Structure":
        """That of two parts of one tensor together."""
        most = None
        if self.most is not None and other.most is not None:
            most = tuple(map(max, self.most, other.most))
        return msgspec.structs.replace(self, values=merge_distinct(self.values, other.values), most=most)

    @property
    def distinct(self) -> int | None:
        """Number of distinct values, −0 and 0 as one; None for more than 1,024."""
        return None if self.values is None else len(self.values)

    @property
    def effective_bits(self) -> float | None:
        """log₂ of the number of distinct values, in bits; None for more than 10 bits, or of no value."""
        return math.log2(self.distinct) if self.distinct else None

    @property
    def pattern(self) -> str | None:
        """The sparsest N:M pattern along the last dimension, at most N of M non-zero, N ≤ M/2; None without one.

        N is a power of two; of patterns of one density the one with the shortest groups implies the others.
        """
        if self.most is None or not any(self.most):
            return None
        found = []
        for length, most in zip(GROUPS, self.most, strict=True):
            kept = 1 << (most - 1).bit_length() if most else 1
            if self.shape[-1] % length == 0 and 2 * kept <= length:
                found.append((kept / length, length, f"{kept}:{length}"))
        return min(found)[2] if found else None
