"""compressed-tensors' sparse formats: the values that are not zero, and a bit for each place that says which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.weights.formats.bits import demand
from shrinkscope.weights.formats.packed import Group
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor


class Bitmask:
    """``sparse-bitmask`` (``X.weight.bitmask``) and ``sparse-24-bitmask`` (``X.bitmask``)."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """Every ``….bitmask`` with ``….compressed`` and ``….shape``."""
        for name in stored.views:
            stem = name.removesuffix(".bitmask")
            ends = ("bitmask", "compressed", "shape")
            if stem == name or not all(f"{stem}.{end}" in stored.views for end in ends):
                continue
            offsets = ("row_offsets",) if f"{stem}.row_offsets" in stored.views else ()
            parts = {end: stored.views[f"{stem}.{end}"] for end in (*ends, *offsets)}
            # The 2:4 format drops the weight's own name, the other keeps it.
            yield Group(name=stem if offsets else f"{stem}.weight", parts=parts)

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight in the type of its values."""
        parts = group.parts
        demand(parts["shape"].parameters == 2, "the stored shape has not two dimensions")
        rows, columns = (int(size) for size in parts["shape"].read().reshape(-1).tolist())
        mask, values = parts["bitmask"], parts["compressed"]
        demand(mask.dtype == torch.uint8 and mask.shape == (rows, -(-columns // 8)), f"a mask of {list(mask.shape)}")
        if "row_offsets" in parts:
            demand(parts["row_offsets"].shape == (rows,), "offsets that are not one for each row")
            begins = torch.cat([parts["row_offsets"].read().long(), torch.tensor([values.parameters])])
        else:
            demand(values.shape == (rows, columns // 2), f"values of {list(values.shape)}, not two of four")
            begins = torch.arange(rows + 1) * (columns // 2)
        ordered = bool((begins.diff() >= 0).all()) and int(begins[0]) == 0 and int(begins[-1]) == values.parameters
        demand(ordered, "offsets of rows that are not in order")
        decoder = _SparseRows(group.name, mask, values, begins, columns)
        return view_by_rows(group.name, (rows, columns), values.dtype, decoder.rows)


class _SparseRows(msgspec.Struct, frozen=True):
    name: str
    mask: TensorView
    values: TensorView
    begins: Tensor
    columns: int

    def rows(self, first: int, last: int) -> Tensor:
        width = self.mask.shape[1]
        packed = self.mask.piece(first * width, last * width).reshape(-1, width)
        places = (packed[:, :, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten(1)[:, : self.columns].bool()
        values = self.values.piece(int(self.begins[first]), int(self.begins[last]))
        demand(int(places.sum()) == values.numel(), f"{self.name}: its mask counts other values than are stored")
        # Bytes or words, since not every operation knows 8-bit floats.
        raw = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.dtype.itemsize]
        dense = torch.zeros(places.shape, dtype=raw).masked_scatter_(places, values.view(raw))
        return dense.view(values.dtype)
