"""Weights stored as integers or 8-bit floats with scales beside them: compressed-tensors, and Hugging Face's fp8."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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

_EIGHT_BITS = ("int8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
_BIAS = 127


class Scaled:
    """``int-quantized``, ``float-quantized``, ``naive-quantized``, ``mxfp8-quantized``, and ``weight_scale_inv``."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.weight`` of eight bits with ``X.weight_scale`` or ``X.weight_scale_inv``."""
        found = gather(stored, "weight", ("weight_scale", "weight_scale_inv", "weight_zero_point"))
        return [
            group
            for group in found
            if group.parts["weight"].type in _EIGHT_BITS and len(group.parts) > 1
            if "weight_scale" in group.parts or "weight_scale_inv" in group.parts
        ]

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight, in the type of its scales (bfloat16 where these are powers of two alone)."""
        parts, weight = group.parts, group.parts["weight"]
        scale = flat(parts["weight_scale"] if "weight_scale" in parts else parts["weight_scale_inv"])
        if scale.dtype in (torch.uint8, torch.float8_e8m0fnu):
            scale = torch.exp2((scale.view(torch.uint8).to(torch.int32) - _BIAS).to(torch.bfloat16))
        demand(scale.is_floating_point(), f"scales of {scale.dtype}")
        demand(len(weight.shape) >= 1, "a scalar with a scale")
        matrix = (math.prod(weight.shape[:-1]), weight.shape[-1])
        scales = Scales.of(scale, matrix, block=_block(stored.quantization) if scale.dim() == 2 else None)
        zeros = None
        if "weight_zero_point" in parts:
            zero = flat(parts["weight_zero_point"])
            demand(zero.numel() == scales.values.numel(), f"zero points of {list(zero.shape)}")
            zeros = msgspec.structs.replace(scales, values=zero.reshape(scales.values.shape))
        decoder = _ScaledRows(weight, scales, zeros)
        return view_by_rows(group.name, weight.shape, scales.values.dtype, decoder.rows)


class _ScaledRows(msgspec.Struct, frozen=True):
    weight: TensorView
    scales: Scales
    zeros: Scales | None

    def rows(self, first: int, last: int) -> Tensor:
        width, dtype = self.scales.columns, self.scales.values.dtype
        values = self.weight.piece(first * width, last * width).reshape(-1, width).to(dtype)
        if self.zeros is not None:
            values = values - self.zeros.rows(first, last, dtype)
        return values * self.scales.rows(first, last, dtype)


def _block(settings: Mapping[str, object]) -> tuple[int, int] | None:
    """The size of blocks that a configuration tells, if it tells one."""
    told = settings.get("weight_block_size")
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        told = told or (weights.get("block_structure") if isinstance(weights, dict) else None)
    if isinstance(told, list) and len(told) == 2 and all(type(size) is int for size in told):
        return told[0], told[1]
    return None
