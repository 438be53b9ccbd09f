"""Weights put into a network that runs them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shrinkscope.deferred import torch
from shrinkscope.errors import WeightsError
from shrinkscope.weights.source import WeightsLike, open_weights

if TYPE_CHECKING:
    from torch import Tensor, nn


def runnable(weights: WeightsLike, network: nn.Module | None) -> nn.Module:
    """The weights as a network that can be run.

    Args:
        weights: A module, or weights that need one.
        network: The architecture for weights that are not a module.

    Returns:
        The module itself, or a copy of ``network`` that holds the weights.

    Raises:
        WeightsError: If there is no network, or it does not fit the weights.
    """
    if isinstance(weights, torch.nn.Module):
        return weights
    source = open_weights(weights)
    if network is None:
        raise WeightsError(
            f"{source.origin} holds weights without a network to run them in; give one: network=… (--network)"
        )
    model = copy.deepcopy(network)
    state = {name: view.read() for name, view in source.items()}
    state |= {alias: state[name] for alias, name in source.tied.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        misfits = _misfits(state, model.state_dict()) or [" ".join(str(error).split())]
        more = f", and {len(misfits) - 1} more" if len(misfits) > 1 else ""
        what = f"{source.origin} does not fit the network {type(network).__name__}"
        raise WeightsError(f"{what}: {misfits[0]}{more}") from error
    return model


def _misfits(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with each tensor; shapes first, which tell most (another number of classes)."""
    shapes = [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in found and found[name].shape != tensor.shape
    ]
    missing = [f"{name} is missing" for name in own if name not in found]
    return shapes + missing + [f"{name} is not in the network" for name in found if name not in own]
