"""AWQ as AutoAWQ saves it (``gemm``): 4-bit codes packed along the outputs, in an interleaved order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.formats.bits import WORD, demand
from shrinkscope.weights.formats.packed import Group, gather
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_BITS = 4
_CODES = WORD // _BITS
_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Which four bits of a word hold the code of each of eight consecutive outputs."""


class Awq:
    """The format: ``qweight`` (inputs, outputs/8), ``qzeros`` (groups, outputs/8), ``scales`` (groups, outputs)."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.qweight`` an eighth as wide as its scales, and any other that is left."""
        return gather(stored, "qweight", ("qzeros", "scales", "g_idx"))

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight, outputs × inputs, in the type of its scales."""
        parts, words = group.parts, group.parts["qweight"]
        demand("qzeros" in parts and "scales" in parts, "no scales or no zero points are stored beside qweight")
        scales, zeros = parts["scales"].read(), parts["qzeros"]
        demand(scales.dim() == 2 and scales.numel() > 0, f"scales of {list(scales.shape)}")
        groups, outputs = scales.shape
        wide = len(words.shape) == 2 and words.shape[1] * _CODES == outputs and words.dtype == torch.int32
        demand(
            wide, f"codes of {list(words.shape)} and scales of {list(scales.shape)}, as neither GPTQ nor AWQ (gemm) has"
        )
        inputs = words.shape[0]
        demand(
            zeros.shape == (groups, words.shape[1]) and zeros.dtype == torch.int32,
            f"zero points of {list(zeros.shape)}",
        )
        demand(inputs % groups == 0 and inputs > 0, f"{inputs} inputs in {groups} groups")
        decoder = _InterleavedColumns(words, inputs // groups, _codes(zeros.read()), scales)
        return view_by_rows(group.name, (outputs, inputs), scales.dtype, decoder.rows)


class _InterleavedColumns(msgspec.Struct, frozen=True):
    words: TensorView
    size: int
    zeros: Tensor
    scales: Tensor

    def rows(self, first: int, last: int) -> Tensor:
        begin, end = first // _CODES, -(-last // _CODES)
        codes = _codes(self.words.read()[:, begin:end])[:, first - begin * _CODES : last - begin * _CODES]
        zeros, scales = self.zeros[:, first:last], self.scales[:, first:last]
        steps = (codes.reshape(-1, self.size, last - first) - zeros[:, None]).to(scales.dtype)
        return (steps * scales[:, None]).flatten(0, 1).t()


def _codes(words: Tensor) -> Tensor:
    shifts = torch.tensor(_PLACES, dtype=torch.int32) * _BITS
    return (words[:, :, None] >> shifts & 2**_BITS - 1).flatten(1).to(torch.int16)
