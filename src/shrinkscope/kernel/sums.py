"""Counts and sums over the elements of a pair of tensors in one pass, by the kernel or by PyTorch."""

from __future__ import annotations

import ctypes
from functools import reduce
from typing import TYPE_CHECKING, Literal, TypeGuard

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.kernel.library import PATHS, InstructionSet, Sums, loaded
from shrinkscope.kernel.numbers import Numbers, as_tensor, type_name

if TYPE_CHECKING:
    from torch import Tensor

Path = InstructionSet | Literal["torch"]
"""Who takes the sums: the kernel with one instruction set, or PyTorch."""

KINDS = {"bfloat16": 0, "float16": 1, "float32": 2, "float64": 3}
"""Types that the kernel reads, with their numbers in kernel.h; all others are converted."""

_CONVERTED = 1 << 18  # elements that are converted at once, of 1 or 2 MB a side
_BLOCK = 1 << 16  # elements in float64 that fit the second cache, of which PyTorch walks over a dozen intermediates


class PairSums(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all elements, and sums over those that are finite on both sides; Δ = ω − ω̃.

    Attributes:
        zeros_dense, zeros_compressed: Elements equal to zero on each side.
        zeros_gained, zeros_lost: Elements that became zero, and that ceased to be zero.
        changed: Elements whose values differ (NaN differs from everything, −0 from nothing that is 0).
        bits_differ: Elements whose bits differ; None when the two sides are stored in different types.
        nonfinite_dense, nonfinite_compressed: NaN and infinite elements on each side.
        square_dense, square_compressed, square_delta, product: Σω², Σω̃², ΣΔ² and Σωω̃ in squared weight units.
        largest_delta: max |Δ| in weight units.
    """

    zeros_dense: int
    zeros_compressed: int
    zeros_gained: int
    zeros_lost: int
    changed: int
    bits_differ: int | None
    nonfinite_dense: int
    nonfinite_compressed: int
    square_dense: float
    square_compressed: float
    square_delta: float
    product: float
    largest_delta: float


def pair_sums(
    dense: Tensor | Numbers, compressed: Tensor | Numbers, *, exact: bool = False, path: Path | None = None
) -> PairSums:
    """Take the counts and sums of a pair of tensors.

    Args:
        dense: ω, flat; any floating type. Types that differ, and float8, are converted to float32, or to float64 where
            one of them is float64: both hold every value of the smaller type.
        compressed: ω̃, as many elements.
        exact: Sum in float64 throughout: within 1e-12 (relative; Σωω̃ relative to ‖ω‖‖ω̃‖). Otherwise 16-bit types may
            be summed in float32 by groups of eight: within 1e-7, see docs/diff.md for what is proved and what checked.
        path: Who takes the sums; the fastest that there is by default. Tensors on a GPU stay there, with PyTorch.

    Returns:
        The statistics; the counts are exact.

    Raises:
        ValueError: If the path asked for is not there, or the tensors have different lengths.

    Source: derived here; tests/kernel/test_sums.py against rational arithmetic.
    """
    if path != "torch" and not isinstance(loaded(), str) and _plain(dense) and _plain(compressed):
        return _numbers_sums(dense, compressed, exact=exact, path=path)
    dense, compressed = as_tensor(dense), as_tensor(compressed)
    if dense.shape != compressed.shape:
        raise ValueError(f"shapes {tuple(dense.shape)} and {tuple(compressed.shape)}; expected the same")
    x, y = dense.reshape(-1).contiguous(), compressed.reshape(-1).contiguous()
    if x.dtype == y.dtype and type_name(x.dtype) in KINDS:
        return _summed(x, y, exact=exact, path=path)
    wide = torch.float64 if torch.float64 in (x.dtype, y.dtype) else torch.float32
    # In blocks: converted as a whole, a chunk would take several times the memory of what was read.
    block = _CONVERTED if x.device.type == "cpu" else max(1, x.numel())
    found = [
        _summed(u.to(wide), v.to(wide), exact=exact, path=path)
        for u, v in zip(x.split(block), y.split(block), strict=True)
    ]
    bits = _bits_differ(x, y) if x.dtype == y.dtype else None
    return msgspec.structs.replace(reduce(_added, found), bits_differ=bits)


def _plain(values: Tensor | Numbers) -> TypeGuard[Numbers]:
    return isinstance(values, Numbers) and values.type in KINDS


def _numbers_sums(dense: Numbers, compressed: Numbers, *, exact: bool, path: InstructionSet | None) -> PairSums:
    """The kernel's sums, of types that differ in blocks of the wider one."""
    count = dense.count
    if count != compressed.count:
        raise ValueError(f"{count} numbers and {compressed.count}; expected as many")
    if dense.type == compressed.type:
        return _by_kernel(dense.address, compressed.address, count, KINDS[dense.type], exact=exact, path=path)
    wide = "float64" if "float64" in (dense.type, compressed.type) else "float32"
    found = []
    for start in range(0, max(count, 1), _CONVERTED):
        x, y = (side[start : start + _CONVERTED].widened(wide) for side in (dense, compressed))
        found.append(_by_kernel(x.address, y.address, x.count, KINDS[wide], exact=exact, path=path))
    return msgspec.structs.replace(reduce(_added, found), bits_differ=None)


def _added(first: PairSums, second: PairSums) -> PairSums:
    mine, theirs = msgspec.structs.asdict(first), msgspec.structs.asdict(second)
    total = {name: mine[name] + theirs[name] for name in mine if name != "largest_delta"}
    return PairSums(**total, largest_delta=max(first.largest_delta, second.largest_delta))


def _summed(x: Tensor, y: Tensor, *, exact: bool, path: Path | None) -> PairSums:
    library = loaded()
    if path == "torch" or (path is None and isinstance(library, str)) or x.device.type != "cpu":
        return sums_by_torch(x, y)
    return _by_kernel(x.data_ptr(), y.data_ptr(), x.numel(), KINDS[type_name(x.dtype)], exact=exact, path=path)


def _by_kernel(
    dense: int, compressed: int, count: int, kind: int, *, exact: bool, path: InstructionSet | None
) -> PairSums:
    """The kernel's sums over ``count`` numbers of a kind at two addresses."""
    library, out = loaded(), Sums()
    number = 0 if path is None else PATHS[path]
    if isinstance(library, str) or not library.shrinkscope_pair_sums(
        dense, compressed, count, kind, exact, number, ctypes.byref(out)
    ):
        raise ValueError(f"the kernel has no path {path!r} here")
    return PairSums(
        zeros_dense=out.zeros_dense,
        zeros_compressed=out.zeros_compressed,
        zeros_gained=out.zeros_compressed - out.zeros_both,
        zeros_lost=out.zeros_dense - out.zeros_both,
        changed=out.changed,
        bits_differ=out.bits_differ,
        nonfinite_dense=out.nonfinite_dense,
        nonfinite_compressed=out.nonfinite_compressed,
        square_dense=out.square_dense,
        square_compressed=out.square_compressed,
        square_delta=out.square_delta,
        product=out.product,
        largest_delta=out.largest_delta,
    )


def sums_by_torch(x: Tensor, y: Tensor) -> PairSums:
    """The same statistics by PyTorch, on whatever device the tensors are, always in float64.

    Args:
        x: ω, flat, of a type in ``KINDS``.
        y: ω̃, of the same type, length and device.
    """
    block = _BLOCK if x.device.type == "cpu" else max(1, x.numel())
    counts = torch.zeros(8, dtype=torch.int64, device=x.device)
    sums = torch.zeros(4, dtype=torch.float64, device=x.device)
    farthest = torch.zeros((), dtype=torch.float64, device=x.device)
    for u, v in zip(x.split(block), y.split(block), strict=True):
        a, b = u.to(torch.float64), v.to(torch.float64)
        zero_a, zero_b, finite_a, finite_b = a == 0, b == 0, torch.isfinite(a), torch.isfinite(b)
        differing = integers(u) != integers(v)
        masks = (zero_a, zero_b, zero_b & ~zero_a, zero_a & ~zero_b, a != b, differing, ~finite_a, ~finite_b)
        counts += torch.stack([torch.count_nonzero(mask) for mask in masks])
        both = finite_a & finite_b
        a, b = torch.where(both, a, 0.0), torch.where(both, b, 0.0)
        delta = a - b
        sums += torch.stack([torch.dot(a, a), torch.dot(b, b), torch.dot(delta, delta), torch.dot(a, b)])
        if delta.numel():
            farthest = torch.maximum(farthest, delta.abs().max())
    values = [*map(int, counts.tolist()), *sums.tolist(), float(farthest)]
    return PairSums(**dict(zip(PairSums.__struct_fields__, values, strict=True)))


def integers(tensor: Tensor) -> Tensor:
    """The elements' bits as integers of the same width.

    Args:
        tensor: Of any type.
    """
    widths = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(widths[tensor.element_size()])


def _bits_differ(dense: Tensor, compressed: Tensor) -> int:
    return int(torch.count_nonzero(integers(dense) != integers(compressed)))
