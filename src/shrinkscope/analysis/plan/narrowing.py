"""A network that is physically smaller: without the channels that a plan removes."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from shrinkscope.analysis.plan.channel_mask import without_channels
from shrinkscope.analysis.plan.parts import PlanRow, PlanVector
from shrinkscope.analysis.plan.ranges import numbers_in
from shrinkscope.compression.locate import places_of
from shrinkscope.errors import CompressionError

_STATISTICS = ("running_mean", "running_var")


def narrowed(model: nn.Module, rows: Sequence[PlanRow], vectors: Sequence[PlanVector]) -> nn.Module:
    """A copy of a network without the channels that a plan removes: smaller weights, biases and batch norms.

    Args:
        model: The network; left as it is. Code that has numbers of channels written into it (views of so many columns,
            shortcuts padded to so many channels) does not run with fewer.
        rows: Of the plan.
        vectors: Of the plan.

    Raises:
        CompressionError: If the plan is for another network, or a weight is not that of a convolution or linear layer.
    """
    without_channels(dict(model.named_parameters()), rows, vectors)  # for its checks
    smaller = copy.deepcopy(model)
    for row in rows:
        _cut(smaller, row.layer, numbers_in(row.channels), numbers_in(row.inputs))
    for vector in vectors:
        _cut(smaller, vector.name, numbers_in(vector.channels), [])
    return smaller


def narrowed_tensors(
    tensors: Mapping[str, Tensor], rows: Sequence[PlanRow], vectors: Sequence[PlanVector]
) -> dict[str, Tensor]:
    """All tensors of a network without the channels that a plan removes.

    Args:
        tensors: Parameters and buffers by name; the statistics of batch norm lose what its weight loses.
        rows: Of the plan.
        vectors: Of the plan.

    Raises:
        CompressionError: If the plan is for another network.
    """
    without_channels(tensors, rows, vectors)  # for its checks
    found = dict(tensors)
    for row in rows:
        found[row.layer] = _without(tensors[row.layer], numbers_in(row.channels), numbers_in(row.inputs))
    for vector in vectors:
        gone, owner = numbers_in(vector.channels), vector.name.rpartition(".")[0]
        for name in (vector.name, *(f"{owner}.{key}" for key in _STATISTICS)):
            if name in tensors and len(tensors[name]) == len(tensors[vector.name]):
                found[name] = _without(tensors[name], gone, [])
    return found


def _without(tensor: Tensor, channels: list[int], inputs: list[int]) -> Tensor:
    found = tensor.detach()
    for axis, gone in ((0, channels), (1, inputs)):
        if gone:
            found = found.index_select(axis, _others(found.shape[axis], gone, found))
    return found


def _cut(model: nn.Module, name: str, channels: list[int], inputs: list[int]) -> None:
    dense = model.get_parameter(name)
    found = _without(dense, channels, inputs)
    if found.shape == dense.shape:
        return
    new = nn.Parameter(found.clone(), requires_grad=dense.requires_grad)
    for place in places_of(model, dense):
        setattr(place.owner, place.attribute, new)
        _told(place.owner, name, place.attribute, new)
        if isinstance(place.owner, nn.modules.batchnorm._BatchNorm):
            _statistics(place.owner, len(dense), channels)


def _told(owner: nn.Module, name: str, attribute: str, weight: Tensor) -> None:
    """Bring the numbers of channels that a module remembers up to date."""
    if isinstance(owner, nn.Linear):
        owner.out_features, owner.in_features = owner.weight.shape
    elif isinstance(owner, _ConvNd):
        depthwise = owner.groups > 1 and owner.groups == owner.in_channels
        owner.out_channels = len(owner.weight)
        owner.groups = len(owner.weight) if depthwise else owner.groups
        owner.in_channels = owner.weight.shape[1] * owner.groups
    elif isinstance(owner, nn.modules.batchnorm._BatchNorm):
        owner.num_features = len(weight)
    else:
        raise CompressionError(
            f"{name} is the {attribute} of a {type(owner).__name__}, which cannot be made smaller; apply the plan, "
            "which sets its channels to zero"
        )


def _statistics(norm: nn.modules.batchnorm._BatchNorm, entries: int, gone: list[int]) -> None:
    for key in _STATISTICS:
        buffer = getattr(norm, key)
        if buffer is not None and len(buffer) == entries:
            setattr(norm, key, _without(buffer, gone, []))


def _others(entries: int, gone: list[int], like: Tensor) -> Tensor:
    left = sorted(set(range(entries)) - set(gone))
    return torch.tensor(left, dtype=torch.long, device=like.device)
