"""One entrance for every kind of weights: module, state dict or file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from shrinkscope.deferred import torch
from shrinkscope.errors import WeightsError
from shrinkscope.weights.files import weights_of_file
from shrinkscope.weights.remote.location import is_url, local_path
from shrinkscope.weights.remote.path import AnyPath, RemotePath
from shrinkscope.weights.role import COMPRESSIBLE
from shrinkscope.weights.selection import LayerSelection, LayersLike
from shrinkscope.weights.statedict import weights_of_state_dict
from shrinkscope.weights.view import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

WeightsLike = Union["nn.Module", Mapping[str, Any], str, os.PathLike[str], RemotePath, Weights]


def open_weights(source: WeightsLike) -> Weights:
    """The weights of a network, wherever they are.

    Args:
        source: A module, a state dict (names mapped to tensors or NumPy arrays), a path, a URL such as
            ``s3://bucket/model.safetensors`` or a ``RemotePath``, which has options, or weights already opened.

    Returns:
        The tensors by name, effective values under plain names, tied weights once.

    Raises:
        WeightsError: If the source cannot be read, or is none of these.
    """
    if isinstance(source, Weights):
        return source
    if isinstance(source, RemotePath):
        return weights_of_file(source)
    if isinstance(source, (str, os.PathLike)):
        return weights_of_file(_path(os.fspath(source)))
    if isinstance(source, Mapping):
        return weights_of_state_dict(source)
    if isinstance(source, torch.nn.Module):
        from shrinkscope.weights.module import weights_of_module

        return weights_of_module(source)
    found = type(source).__name__
    raise WeightsError(f"cannot take weights from a {found}; expected a module, a state dict, a path or a URL")


def _path(text: str) -> AnyPath:
    if not is_url(text):
        return Path(text)
    local = local_path(text)
    return RemotePath(text) if local is None else Path(local)


def compressible(model: nn.Module, layers: LayersLike = None) -> dict[str, Tensor]:
    """The weights of a module that compression acts on: convolutions and linear layers, tied weights once.

    Args:
        model: The network.
        layers: Which of them (globs or a LayerSelection); all of them by default.

    Returns:
        Plain name → effective weight, detached, in the order of registration.
    """
    selection = LayerSelection.of(layers)
    views = open_weights(model).values()
    return {v.name: v.read() for v in views if v.role in COMPRESSIBLE and selection.matches(v.name, v.role)}
