"""The mask of a plan of channels: rows and columns of weights, and entries of biases and batch norm."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from shrinkscope.analysis.plan.parts import PlanRow, PlanVector
from shrinkscope.analysis.plan.ranges import numbers_in
from shrinkscope.compression import Mask
from shrinkscope.compression.checks import listing
from shrinkscope.errors import CompressionError


def without_channels(tensors: Mapping[str, Tensor], rows: Sequence[PlanRow], vectors: Sequence[PlanVector]) -> Mask:
    """What stays when channels go, in each tensor that has an entry for one.

    Args:
        tensors: All parameters by name.
        rows: Of the plan.
        vectors: Of the plan.

    Raises:
        CompressionError: If a tensor is missing, or has no such channel.
    """
    kept = {row.layer: _kept(row.layer, tensors, row.channels, row.inputs) for row in rows}
    return Mask(kept | {one.name: _kept(one.name, tensors, one.channels, "") for one in vectors})


def _kept(name: str, tensors: Mapping[str, Tensor], channels: str, inputs: str) -> Tensor:
    if name not in tensors:
        raise CompressionError(f"the plan is for {name}, which is not there; the parameters are {listing(tensors)}")
    kept = torch.ones(tensors[name].shape, dtype=torch.bool)
    for axis, text in enumerate((channels, inputs)):
        gone = numbers_in(text)
        if gone and (axis >= kept.ndim or max(gone) >= kept.shape[axis]):
            raise CompressionError(
                f"the plan removes channel {max(gone)} of {name}, whose shape is {tuple(kept.shape)}: "
                "the plan belongs to another network"
            )
        if gone:
            kept.index_fill_(axis, torch.tensor(gone), value=False)
    return kept
