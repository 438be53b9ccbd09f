"""The vectors x that a layer's rows of weights are multiplied with, read off the call of its module."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

CHUNK_ENTRIES = 1 << 22
"""Entries of one chunk of vectors: 32 MiB in float64, whatever the batch and the image."""

Arguments = tuple[Any, ...]
Rows = Callable[[Any, Arguments, Mapping[str, Any]], Iterator[Tensor]]
"""From a module and the arguments of its call to its vectors in chunks of shape (groups, vectors, columns)."""


def linear_rows(module: nn.Module, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Inputs of a linear layer, or of a projection of attention: one vector a position.

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
    spatial = len(module.kernel_size)
    inputs = _batched(arguments[0] if arguments else named["input"], spatial)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    yield from _patches(_windows(padded, module.kernel_size, module.stride, module.dilation, module.groups), spatial)


def transposed_rows(module: _ConvTransposeNd, arguments: Arguments, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """What the weights of a transposed convolution are multiplied with at each position of its *output*.

    An output is a sum over those inputs that a kernel reaches it from: a convolution of the input with zeros between
    its entries, by the mirrored kernel. So a row of weights is all that leads to one output channel: its columns are
    (input channel, kernel position).

    Args:
        module: The layer, in one to three dimensions.
        arguments: Those of its call, ``output_size`` among them if it was given.
        named: Those of its call that have names.

    Yields:
        Chunks of shape (groups, vectors, columns).
    """
    inputs = arguments[0] if arguments else named["input"]
    size = arguments[1] if len(arguments) > 1 else named.get("output_size")
    spatial = len(module.kernel_size)
    stride, padding, dilation = module.stride, module.padding, module.dilation
    extra = module._output_padding(inputs, size, stride, padding, module.kernel_size, spatial, dilation)  # type: ignore[arg-type]
    sides: list[int] = []
    for axis in reversed(range(spatial)):
        reach = dilation[axis] * (module.kernel_size[axis] - 1) - int(padding[axis])
        sides += [reach, reach + extra[axis]]
    spread = pad(_spread(_batched(inputs, spatial), stride), sides)
    windows = _windows(spread, module.kernel_size, (1,) * spatial, dilation, module.groups)
    kernel = math.prod(module.kernel_size)
    for rows in _patches(windows, spatial):
        yield rows.unflatten(2, (-1, kernel)).flip(3).flatten(2)


def _chunks(inputs: Tensor) -> Iterator[Tensor]:
    rows = inputs.detach().reshape(1, -1, inputs.shape[-1])
    yield from rows.split(max(1, CHUNK_ENTRIES // max(1, inputs.shape[-1])), dim=1)


def _batched(inputs: Tensor, spatial: int) -> Tensor:
    inputs = inputs.detach()
    return inputs.unsqueeze(0) if inputs.ndim == spatial + 1 else inputs


def _spread(inputs: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Inputs with stride − 1 zeros between neighbours."""
    sizes = [(size - 1) * step + 1 for size, step in zip(inputs.shape[2:], stride, strict=True)]
    spread = inputs.new_zeros(*inputs.shape[:2], *sizes)
    spread[(..., *(slice(None, None, step) for step in stride))] = inputs
    return spread


def _windows(
    padded: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> Tensor:
    """Views of shape (groups, samples, positions …, channels, kernel …) into the padded input: nothing is copied."""
    spatial = len(kernel)
    windows = padded
    for axis in range(spatial):
        windows = windows.unfold(2 + axis, dilation[axis] * (kernel[axis] - 1) + 1, stride[axis])
    windows = windows[(..., *(slice(None, None, step) for step in dilation))]
    windows = windows.unflatten(1, (groups, -1))
    places, entries = range(3, 3 + spatial), range(3 + spatial, 3 + 2 * spatial)
    return windows.permute(1, 0, *places, 2, *entries)


def _patches(windows: Tensor, spatial: int) -> Iterator[Tensor]:
    """Windows as vectors, in chunks of shape (groups, vectors, columns)."""
    groups, _, lines = windows.shape[:3]
    columns = math.prod(windows.shape[2 + spatial :])
    line = groups * math.prod(windows.shape[3:])
    at_once = max(1, CHUNK_ENTRIES // max(1, lines * line))
    some_lines = lines if at_once > 1 else max(1, CHUNK_ENTRIES // max(1, line))
    for part in windows.split(at_once, dim=1):
        for piece in part.split(max(1, some_lines), dim=2):
            yield piece.reshape(groups, -1, columns)
