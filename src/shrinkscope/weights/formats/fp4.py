"""compressed-tensors' 4-bit floats, two in a byte: ``nvfp4-pack-quantized`` and ``mxfp4-pack-quantized``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.formats.bits import demand
from shrinkscope.weights.formats.packed import Group, gather
from shrinkscope.weights.formats.scales import Scales, flat
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_BIAS = 127


class PackedFloat4:
    """The two formats: scales of 8-bit floats with one scale for all, or scales that are powers of two."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.weight_packed`` of bytes."""
        found = gather(stored, "weight_packed", ("weight_scale", "weight_global_scale"))
        return [group for group in found if group.parts["weight_packed"].dtype == torch.uint8]

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight in bfloat16."""
        packed, parts = group.parts["weight_packed"], group.parts
        demand("weight_scale" in parts and len(packed.shape) >= 2, "no scale is stored")
        outer = packed.shape[:-1]
        shape = (*outer, 2 * math.prod(packed.shape[-1:]))
        scale = flat(parts["weight_scale"])
        demand("mxfp6" not in str(stored.quantization.get("format")), "6-bit floats (mxfp6) are not decoded")
        if scale.dtype in (torch.uint8, torch.float8_e8m0fnu):
            scale = torch.exp2((scale.view(torch.uint8).to(torch.int32) - _BIAS).to(torch.bfloat16))
        scale = scale.to(torch.bfloat16)
        if "weight_global_scale" in parts:
            whole = parts["weight_global_scale"].read()
            demand(whole.numel() == 1, "more than one global scale")
            scale = scale / whole.reshape(1, 1)
        rows = math.prod(outer)
        demand(scale.dim() == 2 and scale.shape[0] == rows, f"scales of {list(scale.shape)} for {list(shape)} weights")
        return view_by_rows(group.name, shape, torch.bfloat16, _Rows(packed, Scales.of(scale, (rows, shape[-1]))).rows)


class _Rows(msgspec.Struct, frozen=True):
    packed: TensorView
    scales: Scales

    def rows(self, first: int, last: int) -> Tensor:
        width = self.packed.shape[-1]
        codes = self.packed.piece(first * width, last * width).reshape(-1, width)
        codes = torch.stack([codes & 15, codes >> 4], dim=-1).flatten(1).int()
        table = torch.tensor([*_E2M1, *(-value for value in _E2M1)])
        values = table[codes].to(self.scales.values.dtype)
        return (values * self.scales.rows(first, last, self.scales.values.dtype)).to(torch.bfloat16)
