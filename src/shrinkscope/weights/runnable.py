"""Weights put into a network that runs them."""

import copy

from torch import nn

from shrinkscope.errors import WeightsError
from shrinkscope.weights.source import WeightsLike, open_weights


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
    if isinstance(weights, nn.Module):
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
        found = " ".join(str(error).split())[:300]
        raise WeightsError(f"{source.origin} does not fit the network {type(network).__name__}: {found}") from error
    return model
