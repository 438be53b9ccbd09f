"""compressed-tensors' ``pack-quantized``: integers of 1 to 8 bits in 32-bit words, with scales and zero points."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.formats.bits import demand, unpack, words_for
from shrinkscope.weights.formats.packed import Group, gather
from shrinkscope.weights.formats.scales import Scales, flat
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor


class PackQuantized:
    """The format."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.weight_packed`` of 32-bit words."""
        ends = ("weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx")
        found = gather(stored, "weight_packed", ends)
        return [group for group in found if group.parts["weight_packed"].dtype == torch.int32]

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight, in the type of its scales."""
        parts = group.parts
        demand("weight_scale" in parts and "weight_shape" in parts, "no scale or no shape is stored")
        demand(parts["weight_shape"].parameters <= 8, "the stored shape has too many dimensions")
        sizes = [int(size) for size in parts["weight_shape"].read().reshape(-1).tolist()]
        shape = tuple(sizes)
        packed = parts["weight_packed"]
        width = math.prod(packed.shape[-1:])
        fits = len(shape) >= 2 and min(shape) > 0 and packed.shape[:-1] == shape[:-1]
        demand(fits, f"{shape} does not fit its words")
        rows, columns = math.prod(sizes[:-1]), sizes[-1]
        bits = _bits(columns, width, stored)
        order = parts["weight_g_idx"].read().long() if "weight_g_idx" in parts else None
        if order is not None and bool((order < 0).all()):
            order = None  # The library's mark for "not set".
        scales = Scales.of(flat(parts["weight_scale"]), (rows, columns), order=order)
        zeros = _zeros(parts, scales, bits, rows, len(shape))
        decoder = _PackedRows(packed, bits, columns, scales, zeros)
        return view_by_rows(group.name, shape, scales.values.dtype, decoder.rows)


class _PackedRows(msgspec.Struct, frozen=True):
    packed: TensorView
    bits: int
    columns: int
    scales: Scales
    zeros: Scales | None

    def rows(self, first: int, last: int) -> Tensor:
        width = self.packed.shape[-1]
        words = self.packed.piece(first * width, last * width).reshape(-1, width)
        dtype = self.scales.values.dtype
        # As the library computes: codes less zero points in the type of the scales, exactly, then one product.
        values = unpack(words, self.bits, self.columns).to(dtype) - 2 ** (self.bits - 1)
        if self.zeros is not None:
            values = values - self.zeros.rows(first, last, dtype)
        return values * self.scales.rows(first, last, dtype)


def _bits(columns: int, words: int, stored: Stored) -> int:
    """The width of a code, which the shapes tell but for very short rows."""
    fitting = [bits for bits in range(1, 9) if words_for(columns, bits) == words]
    groups = stored.quantization.get("config_groups")
    schemes = (
        [one.get("weights") for one in groups.values() if isinstance(one, dict)] if isinstance(groups, dict) else []
    )
    told = {scheme.get("num_bits") for scheme in schemes if isinstance(scheme, dict)}
    chosen = [bits for bits in fitting if bits in told] or [bits for bits in (4, 8) if bits in fitting] or fitting
    demand(len(chosen) == 1, f"{words} words for {columns} columns fit {len(fitting)} widths of codes")
    return chosen[0]


def _zeros(parts: object, scales: Scales, bits: int, rows: int, dimensions: int) -> Scales | None:
    zero = parts.get("weight_zero_point")  # type: ignore[attr-defined]
    if zero is None:
        return None
    if zero.dtype != torch.int32:
        return msgspec.structs.replace(scales, values=flat(zero).reshape(scales.values.shape))
    demand(dimensions == 2, "packed zero points of more than two dimensions are not described")
    groups = scales.values.shape[1]
    demand(tuple(zero.shape) == (words_for(rows, bits), groups), f"zero points of {list(zero.shape)}")
    codes = unpack(zero.read().t(), bits, rows).t().to(torch.int16) - 2 ** (bits - 1)
    return msgspec.structs.replace(scales, values=codes)
