"""bitsandbytes: 8-bit rows with their largest absolute value (LLM.int8), and 4-bit codes of a table (nf4, fp4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.bits import demand
from shrinkscope.weights.formats.checks import checked_shape, first_line
from shrinkscope.weights.formats.packed import Group, gather
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_elements, view_by_rows
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_STATE = "weight.quant_state.bitsandbytes__"


class _State(msgspec.Struct, frozen=True):
    """What the JSON text beside a 4-bit weight says."""

    dtype: Literal["float16", "bfloat16", "float32"]
    shape: tuple[int, ...]
    blocksize: Annotated[int, msgspec.Meta(ge=1)]
    nested_blocksize: Annotated[int, msgspec.Meta(ge=1)] = 1
    nested_offset: float = 0.0


class Int8Rows:
    """``X.weight`` of int8 with ``X.SCB``: the code 127 stands for the largest absolute value of the row."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.SCB`` with an ``X.weight``."""
        return [g for g in gather(stored, "SCB", ("weight", "weight_format")) if "weight" in g.parts]

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight in float32, as the library dequantises it."""
        weight, largest = group.parts["weight"], group.parts["SCB"]
        form = group.parts.get("weight_format")
        rows = weight.dtype == torch.int8 and len(weight.shape) == 2 and largest.shape == weight.shape[:1]
        demand(rows, f"codes of {weight.dtype} {list(weight.shape)} and {list(largest.shape)} largest values")
        demand(form is None or int(form.read().reshape(-1)[0]) == 0, "its tiles are laid out for one GPU kernel")
        decoder = _Int8(weight, largest.read().float())
        return view_by_rows(group.name, weight.shape, torch.float32, decoder.rows)


class _Int8(msgspec.Struct, frozen=True):
    codes: TensorView
    largest: Tensor

    def rows(self, first: int, last: int) -> Tensor:
        width = self.codes.shape[1]
        codes = self.codes.piece(first * width, last * width).reshape(-1, width)
        return codes * self.largest[first:last, None] * 7.874015718698502e-3  # the library's 1/127


class Table4Bit:
    """``X.weight`` of packed bytes with ``absmax``, ``quant_map`` and a JSON text that says the rest."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``X.weight`` with ``X.weight.quant_state.bitsandbytes__nf4`` or ``…__fp4``."""
        for kind in ("nf4", "fp4"):
            others = ["weight", *(f"weight.{end}" for end in _ENDS)]
            yield from (g for g in gather(stored, _STATE + kind, others) if "weight" in g.parts)

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight in the type that it had before."""
        state = next(part for end, part in group.parts.items() if end.startswith(_STATE))
        told = _told(state)
        shape, dtype = checked_shape(told.shape, group.name, "its state"), getattr(torch, told.dtype)
        parts = {end.removeprefix("weight."): part for end, part in group.parts.items()}
        count = math.prod(shape)
        packed, table = parts["weight"], _table(parts, "quant_map", 16)
        nbytes = packed.parameters * packed.dtype.itemsize
        demand(nbytes == -(-count // 2), f"{nbytes} bytes for {list(shape)}")
        largest = _largest(parts, told)
        blocks = -(-count // told.blocksize)
        demand(largest.numel() == blocks, f"{largest.numel()} largest values for {blocks} blocks")
        decoder = _Table(packed, table, largest, told.blocksize, dtype)
        return view_by_elements(group.name, shape, dtype, decoder.elements)


_ENDS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


class _Table(msgspec.Struct, frozen=True):
    packed: TensorView
    table: Tensor
    largest: Tensor
    size: int
    dtype: torch.dtype

    def elements(self, start: int, stop: int) -> Tensor:
        unit = 2 * self.packed.dtype.itemsize
        first = start // unit
        packed = self.packed.piece(first, -(-stop // unit)).contiguous().view(torch.uint8)
        # Both values of a byte at once; the upper four bits come first.
        pairs = torch.stack([self.table.repeat_interleave(16), self.table.repeat(16)], dim=1)
        values = pairs[packed.int()].reshape(-1)[start - first * unit : stop - first * unit]
        block = start // self.size
        scales = self.largest[block : -(-stop // self.size)].repeat_interleave(self.size)
        return (values * scales[start - block * self.size :][: values.numel()]).to(self.dtype)


def _told(state: TensorView) -> _State:
    demand(state.dtype == torch.uint8 and state.parameters < 1 << 16, "its state is no short text")
    try:
        return msgspec.json.decode(bytes(state.read().reshape(-1).tolist()), type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"its state is not what bitsandbytes writes ({first_line(error)})") from error


def _table(parts: Mapping[str, TensorView], name: str, length: int) -> Tensor:
    demand(name in parts and parts[name].parameters == length, f"no {name} of {length} values is stored")
    return parts[name].read().reshape(-1).float()


def _largest(parts: Mapping[str, TensorView], told: _State) -> Tensor:
    """The largest absolute value of each block, which may be quantised itself (double quantisation)."""
    demand("absmax" in parts, "no largest values are stored")
    stored = parts["absmax"].read().reshape(-1)
    if "nested_absmax" not in parts:
        return stored.float()
    table, scale = _table(parts, "nested_quant_map", 256), parts["nested_absmax"].read().reshape(-1).float()
    whole = stored.dtype == torch.uint8 and scale.numel() == -(-stored.numel() // told.nested_blocksize)
    demand(whole, "its double quantisation has other sizes than it says")
    return table[stored.int()] * scale[torch.arange(stored.numel()) // told.nested_blocksize] + told.nested_offset
