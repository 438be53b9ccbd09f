"""Where a network ends: its last linear layer, and what that layer is given."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from shrinkscope.errors import ShrinkscopeError
from shrinkscope.performance.forward import evaluation_mode

Call = tuple[str, Tensor, Tensor]


class FeaturesError(ShrinkscopeError):
    """Features of a network cannot be computed, kept or used: it does not end in a linear layer, or a file is wrong."""


class _Reached(Exception):  # noqa: N818  # no error: it ends a forward pass whose rest is not needed
    """The last layer has been given its inputs."""


def find_head(model: nn.Module, inputs: Tensor) -> str:
    """Name of the linear layer whose output is the network's, found by running it once.

    Args:
        model: The network, plain or with masks held; left as it is.
        inputs: A few inputs, on its device.

    Returns:
        The module's name.

    Raises:
        FeaturesError: If the network's output is not that of a linear layer, the layer is used more than once, is not
            given one vector a sample, or shares its weight with another layer.
    """
    calls: list[Call] = []
    with evaluation_mode(model), torch.no_grad(), _watched(model, calls):
        output = model(inputs)
    kind = type(model).__name__
    if not calls:
        raise FeaturesError(f"{kind} has no linear layer; path = 'whole' trains networks of any kind")
    name, given, made = calls[-1]
    if not isinstance(output, Tensor) or made.shape != output.shape or not torch.equal(made, output):
        raise FeaturesError(
            f"the output of {kind} is not that of its last linear layer {name}; path = 'whole' trains such a network"
        )
    if sum(call[0] == name for call in calls) > 1:
        raise FeaturesError(f"{name} is used more than once in a forward pass of {kind}; give path = 'whole'")
    if given.ndim != 2:
        raise FeaturesError(f"{name} is given inputs of shape {tuple(given.shape)}, expected (samples, features)")
    _require_own_weight(model, name)
    return name


def head_layer(model: nn.Module, head: str) -> nn.Linear:
    """The last layer itself.

    Args:
        model: The network.
        head: Name of the layer, as ``find_head`` returns it.

    Raises:
        FeaturesError: If it is not linear.
    """
    layer = model.get_submodule(head)
    if not isinstance(layer, nn.Linear):
        raise FeaturesError(f"{head} is a {type(layer).__name__}, expected a linear layer")
    return layer


def features_of(model: nn.Module, head: str, inputs: Tensor) -> Tensor:
    """What the last layer is given; nothing behind it is computed.

    Args:
        model: The network, in the mode it is to be run in.
        head: Name of the layer, as ``find_head`` returns it.
        inputs: A batch on the network's device.

    Returns:
        Shape (samples, features), detached, on the device.

    Raises:
        FeaturesError: If the layer is not reached.
    """
    found: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].detach())
        raise _Reached

    handle = model.get_submodule(head).register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            model(inputs)
    except _Reached:
        return found[0]
    finally:
        handle.remove()
    raise FeaturesError(f"{head} is not used in a forward pass of {type(model).__name__}; which layer is the last?")


@contextmanager
def _watched(model: nn.Module, calls: list[Call]) -> Iterator[None]:
    def note(name: str):
        return lambda module, given, made: calls.append((name, given[0].detach(), made.detach()))

    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(note(name)) for name, module in linear]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _require_own_weight(model: nn.Module, head: str) -> None:
    weight = head_layer(model, head).weight
    users = [name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter is weight]
    others = [name for name in users if name != f"{head}.weight"]
    if len(users) > 1:
        raise FeaturesError(f"{head}.weight is also {', '.join(others)}, so that its inputs depend on it")
