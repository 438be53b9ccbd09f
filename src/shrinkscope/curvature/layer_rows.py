"""The vectors x that a layer's rows of weights are multiplied with, read off the call of its module."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad
from torch.nn.modules.conv import _ConvNd

CHUNK_ENTRIES = 1 << 22
"""Entries of one chunk of vectors: 32 MiB in float64, whatever the batch and the image."""

Arguments = tuple[Any, ...]
Rows = Callable[[Any, Arguments, Mapping[str, Any]], Iterator[Tensor]]
"""From a module and the arguments of its call to its vectors in chunks of shape (groups, vectors, columns)."""


def linear_rows(module: nn.Linear, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Inputs of a linear layer: one vector a position.

    Args:
        module: The layer.
        arguments: Those of its call.
        named: Those of its call that have names.

    Yields:
        Chunks of shape (1, vectors, columns).
    """
    yield from _chunks(arguments[0] if arguments else named["input"])


def convolution_rows(module: _ConvNd, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Patches of a convolution: one vector for each group and position of the output, padding as the layer pads.

    Args:
        module: The layer, in one to three dimensions.
        arguments: Those of its call.
        named: Those of its call that have names.

    Yields:
        Chunks of shape (groups, vectors, columns), columns in the order of the weight's (channel, kernel position).
    """
    inputs = arguments[0] if arguments else named["input"]
    windows = _windows(module, inputs)
    groups, _, lines = windows.shape[:3]
    columns = module.weight[0].numel()
    line = groups * math.prod(windows.shape[3:])
    at_once = max(1, CHUNK_ENTRIES // max(1, lines * line))
    some_lines = lines if at_once > 1 else max(1, CHUNK_ENTRIES // max(1, line))
    for part in windows.split(at_once, dim=1):
        for piece in part.split(max(1, some_lines), dim=2):
            yield piece.reshape(groups, -1, columns)


def packed_rows(module: nn.MultiheadAttention, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Inputs of the three packed projections of attention: query, key and value, a group of weights each.

    Args:
        module: The attention.
        arguments: Those of its call.
        named: Those of its call that have names.

    Yields:
        Chunks of shape (3, vectors, columns); where there are fewer queries than keys, or the other way round, zeros
        stand in, which add nothing to any sum.
    """
    three = [_argument(position, arguments, named).reshape(-1, module.embed_dim) for position in range(3)]
    longest = max(len(rows) for rows in three)
    stacked = torch.stack([pad(rows, (0, 0, 0, longest - len(rows))) for rows in three])
    yield from stacked.split(max(1, CHUNK_ENTRIES // (3 * module.embed_dim)), dim=1)


def projection_rows(position: int) -> Rows:
    """Inputs of one projection of attention with weights of its own: 0 for query, 1 for key, 2 for value.

    Args:
        position: Which argument of the attention it projects.
    """

    def rows(module: nn.MultiheadAttention, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
        yield from _chunks(_argument(position, arguments, named))

    return rows


def output_rows(module: nn.MultiheadAttention, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Inputs of attention's output projection, which no module is called with.

    Attention is computed again, with the identity as its output projection.

    Args:
        module: The attention.
        arguments: Those of its call.
        named: Those of its call that have names.

    Yields:
        Chunks of shape (1, vectors, columns).
    """
    weight = module.out_proj.weight
    identity = {"out_proj.weight": torch.eye(len(weight), dtype=weight.dtype, device=weight.device)}
    if module.out_proj.bias is not None:
        identity["out_proj.bias"] = torch.zeros_like(module.out_proj.bias)
    yield from _chunks(functional_call(module, identity, arguments, dict(named))[0])


def _argument(position: int, arguments: Arguments, named: Mapping[str, Any]) -> Tensor:
    return arguments[position] if position < len(arguments) else named[("query", "key", "value")[position]]


def _chunks(inputs: Tensor) -> Iterator[Tensor]:
    rows = inputs.detach().reshape(1, -1, inputs.shape[-1])
    yield from rows.split(max(1, CHUNK_ENTRIES // max(1, inputs.shape[-1])), dim=1)


def _windows(module: _ConvNd, inputs: Tensor) -> Tensor:
    """Views of shape (groups, samples, positions …, channels, kernel …) into the padded input: nothing is copied."""
    spatial = len(module.kernel_size)
    inputs = inputs.detach()
    if inputs.ndim == spatial + 1:
        inputs = inputs.unsqueeze(0)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    windows = pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    for axis in range(spatial):
        reach = module.dilation[axis] * (module.kernel_size[axis] - 1) + 1
        windows = windows.unfold(2 + axis, reach, module.stride[axis])
    windows = windows[(..., *(slice(None, None, step) for step in module.dilation))]
    windows = windows.unflatten(1, (module.groups, -1))
    positions, kernel = range(3, 3 + spatial), range(3 + spatial, 3 + 2 * spatial)
    return windows.permute(1, 0, *positions, 2, *kernel)
