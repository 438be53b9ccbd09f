"""GPTQ as AutoGPTQ and GPTQModel save it: codes packed along the inputs, zero points along the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.formats.bits import WORD, demand, unpack
from shrinkscope.weights.formats.packed import Group, gather
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_BITS = (2, 3, 4, 8)
_SECOND = "gptq_v2"
"""The value of ``checkpoint_format`` under which zero points are stored as they are, not less one."""


class Gptq:
    """``qweight`` (inputs·bits/32, outputs), ``qzeros`` (groups, outputs·bits/32), ``scales`` and ``g_idx``."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.qweight`` that is as wide as its scales."""
        for group in gather(stored, "qweight", ("qzeros", "scales", "g_idx")):
            scales, weight = group.parts.get("scales"), group.parts["qweight"]
            if scales is not None and len(weight.shape) == 2 and scales.shape[-1:] == weight.shape[-1:]:
                yield group

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight, outputs × inputs, in the type of its scales."""
        parts, words = group.parts, group.parts["qweight"]
        scales = parts["scales"].read()
        demand("qzeros" in parts and words.dtype == torch.int32, "no zero points are stored, or codes of another type")
        demand(
            scales.dim() == 2 and scales.is_floating_point() and scales.numel() > 0, f"scales of {list(scales.shape)}"
        )
        groups, outputs = scales.shape
        zero = parts["qzeros"]
        demand(
            zero.dtype == torch.int32 and len(zero.shape) == 2 and zero.shape[0] == groups,
            "zero points of another shape",
        )
        bits = WORD * zero.shape[1] // outputs
        demand(bits in _BITS and bits * outputs == WORD * zero.shape[1], f"zero points of {list(zero.shape)}")
        inputs = WORD * words.shape[0] // bits
        demand(inputs > 0 and inputs * bits == WORD * words.shape[0], f"codes of {list(words.shape)} with {bits} bits")
        zeros = _zero_points(zero.read(), bits, outputs, stored.quantization)
        order = parts["g_idx"].read().long() if "g_idx" in parts and parts["g_idx"].parameters else None
        if order is None:
            order = torch.arange(inputs) // -(-inputs // groups)
        fits = order.numel() == inputs and int(order.min()) >= 0 and int(order.max()) < groups
        demand(fits, "group indices that lead to no scale")
        decoder = GroupedColumns(words, bits, inputs, zeros, scales, order)
        return view_by_rows(group.name, (outputs, inputs), scales.dtype, decoder.rows)


def _zero_points(words: Tensor, bits: int, outputs: int, quantization: Mapping[str, Any]) -> Tensor:
    """The zero points as they are used, (groups, outputs)."""
    if quantization.get("checkpoint_format") == _SECOND:
        return unpack(words, bits, outputs).to(torch.int16)
    if WORD % bits == 0 and "gptqmodel" in str(quantization.get("meta")):
        # GPTQModel takes one off all zero points of a word in a single subtraction, in which a zero borrows from the
        # next one; the addition undoes it, and drops what overflows the word.
        ones = sum(1 << place for place in range(0, WORD, bits))
        whole = words.long() + ones & 2**WORD - 1
        return unpack(torch.where(whole < 2 ** (WORD - 1), whole, whole - 2**WORD).int(), bits, outputs).to(torch.int16)
    # AutoGPTQ reads zero points one by one: they are saved less one, and one below zero wraps around.
    return unpack(words, bits, outputs).to(torch.int16) + 1 & 2**bits - 1


class GroupedColumns(msgspec.Struct, frozen=True):
    """Codes packed down the inputs; a row of the weight is a column of them."""

    words: TensorView
    bits: int
    inputs: int
    zeros: Tensor
    scales: Tensor
    order: Tensor

    def rows(self, first: int, last: int) -> Tensor:
        """The weights of the outputs [first, last)."""
        # The words are mapped as a whole, of which only these columns' pages are read.
        codes = unpack(self.words.read()[:, first:last].t(), self.bits, self.inputs).to(torch.int16)
        zeros, scales = self.zeros[:, first:last].t(), self.scales[:, first:last].t()
        return (codes - zeros[:, self.order]).to(scales.dtype) * scales[:, self.order]
