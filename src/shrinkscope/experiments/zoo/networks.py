"""Networks by name, or from a function that the user points at."""

from collections.abc import Callable
from functools import partial

from torch import nn

from shrinkscope.errors import WeightsError
from shrinkscope.experiments.digits import DigitsNet
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet
from shrinkscope.experiments.zoo.efficientnet_lite import EfficientNetLite0
from shrinkscope.experiments.zoo.lenet import LeNet300
from shrinkscope.experiments.zoo.llama import Llama
from shrinkscope.experiments.zoo.pointed import pointed_at

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
    network = pointed_at(name, "a torch.nn.Module", WeightsError)()
    if not isinstance(network, nn.Module):
        raise WeightsError(f"{name} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network
