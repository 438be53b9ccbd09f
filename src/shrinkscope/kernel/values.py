"""Distinct values, and the most non-zero elements in groups of consecutive ones: mergeable counts."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from shrinkscope.deferred import torch
from shrinkscope.kernel.library import loaded
from shrinkscope.kernel.numbers import Numbers, as_tensor, type_name
from shrinkscope.kernel.sums import KINDS, integers

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1024
"""Distinct values up to which they are counted, 10 effective bits; plain bf16 weights have thousands."""

GROUPS = (2, 4, 8, 16)
"""Lengths M of the groups in which the most non-zero elements N are sought."""

_FIRST = 4 * LIMIT  # elements looked at first: enough to see that weights were not quantised


def distinct_values(values: Tensor | Numbers) -> np.ndarray | None:
    """The distinct values among some elements, −0 and 0 as one.

    Args:
        values: Flat, on the CPU, any floating type; float8 is converted to float32.

    Returns:
        Their bit patterns as sorted unsigned integers, of which two disjoint parts are merged by their union; None
        for more than ``LIMIT``, never a wrong number.
    """
    known = np.empty(0, dtype=np.uint64)
    readable = _readable(values)
    for part in (readable[:_FIRST], readable[_FIRST:]):
        found = _distinct(part)
        known = None if found is None else merge_distinct(known, found)
        if known is None:
            return None
    return known


def merge_distinct(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """The distinct values of two parts together; None when they are too many.

    Args:
        first: As ``distinct_values`` returns it.
        second: Likewise, of the same type of element.
    """
    if first is None or second is None:
        return None
    both = np.sort(np.concatenate((first, second)))
    # Not union1d, which loads NumPy's masked arrays: a twentieth of a second of the start of a comparison.
    union = both[np.concatenate((np.ones(min(1, len(both)), dtype=bool), both[1:] != both[:-1]))]
    return union if len(union) <= LIMIT else None


def most_in_groups(values: Tensor | Numbers) -> tuple[int, ...]:
    """The most non-zero elements in any group of M consecutive ones, for each M in ``GROUPS``.

    Args:
        values: Flat, on the CPU; begins where a group of the longest length begins. An incomplete group at the end
            does not count.

    Returns:
        One number for each M, of which two parts are merged by their maximum. Once every group length has seen more
        than its half, the search stops and the numbers are lower bounds, each above its half.
    """
    library, readable = loaded(), _readable(values)
    if isinstance(library, str):
        tensor = as_tensor(readable)
        return tuple(_most(tensor, length) for length in GROUPS)
    most = (ctypes.c_uint64 * len(GROUPS))()
    library.shrinkscope_most_in_groups(*_place(readable), most)
    return tuple(most)


def _readable(values: Tensor | Numbers) -> Tensor | Numbers:
    if isinstance(values, Numbers) and values.type in KINDS:
        return values
    tensor = as_tensor(values)
    return (tensor if type_name(tensor.dtype) in KINDS else tensor.to(torch.float32)).contiguous()


def _place(values: Tensor | Numbers) -> tuple[int, int, int]:
    """Where numbers begin, how many there are, and of what kind."""
    if isinstance(values, Numbers):
        return values.address, values.count, KINDS[values.type]
    return values.data_ptr(), values.numel(), KINDS[type_name(values.dtype)]


def _distinct(values: Tensor | Numbers) -> np.ndarray | None:
    library = loaded()
    if isinstance(library, str):
        values = as_tensor(values)
        # Adding zero makes −0 positive and changes nothing else.
        bits = torch.unique(integers(values + 0.0)).numpy()
        patterns = np.unique(bits.view(bits.dtype.str.replace("i", "u")).astype(np.uint64))
        return patterns if len(patterns) <= LIMIT else None
    patterns = np.empty(LIMIT, dtype=np.uint64)
    into = patterns.ctypes.data_as(ctypes.c_void_p)
    found = library.shrinkscope_distinct(*_place(values), into, LIMIT)
    if found == -2:
        raise MemoryError
    return np.sort(patterns[:found]) if found >= 0 else None


def _most(values: Tensor, length: int) -> int:
    whole = values[: values.numel() // length * length].reshape(-1, length)
    return int(torch.count_nonzero(whole, dim=1).max()) if whole.numel() else 0
