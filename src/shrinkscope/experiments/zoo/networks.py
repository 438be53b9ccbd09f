"""Networks by name, or from a function that the user points at."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from torch import nn

from shrinkscope.errors import WeightsError
from shrinkscope.experiments.digits import DigitsNet
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet
from shrinkscope.experiments.zoo.efficientnet_lite import EfficientNetLite0
from shrinkscope.experiments.zoo.lenet import LeNet300
from shrinkscope.experiments.zoo.llama import Llama

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "digits": DigitsNet,
    "efficientnet_lite0": EfficientNetLite0,
    "lenet300": LeNet300,
    "resnet20": partial(CifarResNet, 3),
    "resnet32": partial(CifarResNet, 5),
    "resnet56": partial(CifarResNet, 9),
    "stories260k": Llama,
}


def load_network(name: str) -> nn.Module:
    """A new network, with arbitrary weights.

    Args:
        name: A name in ``NETWORKS``, or ``package.module:function`` for a function without arguments that returns a
            module; modules in the working directory are found.

    Returns:
        The module.

    Raises:
        WeightsError: If there is no such network, or the function does not return a module.
    """
    if name in NETWORKS:
        return NETWORKS[name]()
    if ":" not in name:
        known = ", ".join(sorted(NETWORKS))
        raise WeightsError(f"unknown network {name!r}; expected one of {known}, or package.module:function")
    network = _function(name)()
    if not isinstance(network, nn.Module):
        raise WeightsError(f"{name} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _function(name: str) -> Callable[[], object]:
    module_name, _, function_name = name.partition(":")
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.insert(0, working_directory)
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise WeightsError(f"cannot load the network {name}: {error}") from error
    if not callable(function):
        raise WeightsError(f"{name} is a {type(function).__name__}; expected a function that returns a torch.nn.Module")
    return function
