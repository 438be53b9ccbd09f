"""Flat numbers in memory that need no PyTorch: bytes, and what type they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shrinkscope.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor

SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
"""Bytes of a number of each type, by the names that PyTorch gives the types."""

_PLAIN = frozenset(name for name in SIZES if not name.startswith(("bfloat", "float8")))
"""Types that NumPy knows, under the same names."""


def type_name(dtype: torch.dtype | str) -> str:
    """The name of a type of numbers, such as ``bfloat16``.

    Args:
        dtype: PyTorch's type, or the name itself.
    """
    return str(dtype).removeprefix("torch.")


def is_floating(name: str) -> bool:
    """Whether a type has a fraction.

    Args:
        name: Its name.
    """
    return "float" in name


class Numbers(msgspec.Struct, frozen=True):
    """Flat numbers in memory, not to be changed.

    Attributes:
        raw: Their bytes, contiguous, and beginning at a multiple of their size.
        type: What they are: a name in ``SIZES``.
    """

    raw: np.ndarray
    type: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.raw) // SIZES[self.type]

    @property
    def address(self) -> int:
        """Where they begin."""
        return self.raw.ctypes.data

    def __getitem__(self, part: slice) -> Numbers:
        size, (start, stop, _) = SIZES[self.type], part.indices(self.count)
        return Numbers(self.raw[start * size : stop * size], self.type)

    def array(self) -> np.ndarray | None:
        """As NumPy's array, without a copy; None for types that NumPy does not know."""
        return self.raw.view(self.type) if self.type in _PLAIN else None

    def widened(self, kind: str) -> Numbers:
        """The same values in a type that holds all of them.

        Args:
            kind: ``float32`` or ``float64``; these are of that type, or of a smaller one of 16 or 32 bits.
        """
        if self.type == kind:
            return self
        if self.type == "bfloat16":  # the upper half of a float32
            values = np.left_shift(self.raw.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
        else:
            values = self.raw.view(self.type)
        return Numbers(values.astype(kind, copy=False).view(np.uint8), kind)

    def tensor(self) -> Tensor:
        """As PyTorch's tensor, without a copy."""
        if not len(self.raw):
            return torch.empty(0, dtype=getattr(torch, self.type))
        return torch.from_numpy(self.raw).view(getattr(torch, self.type))


def as_tensor(values: Tensor | Numbers) -> Tensor:
    """Numbers of either kind as PyTorch's tensor, without a copy.

    Args:
        values: The numbers.
    """
    return values.tensor() if isinstance(values, Numbers) else values
