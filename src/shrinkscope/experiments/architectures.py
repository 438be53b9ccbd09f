"""Architectures by name, with the last layer for a number of classes: the zoo's, torchvision's, transformers'."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shrinkscope.errors import WeightsError
from shrinkscope.experiments.zoo.networks import load_network
from shrinkscope.weights import compressible

TORCHVISION, TRANSFORMERS = "torchvision:", "transformers:"

_VIT = "google/vit-base-patch16-224"
"""The network of the paper's released code: what transformers' ViT is without further settings."""


class Logits(nn.Module):
    """A classifier of transformers as a network from images to class scores.

    Args:
        network: Returns an output with ``logits`` for ``pixel_values``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        return self.network(pixel_values=images).logits


def architecture(name: str, classes: int | None = None) -> nn.Module:
    """A new network with the initialisation that the global generator draws.

    Args:
        name: A name of the zoo, ``torchvision:resnet50``, ``transformers:google/vit-base-patch16-224`` (or a folder
            with a config.json), or ``package.module:function``.
        classes: Number of classes of the last layer, which is replaced when it has another; None leaves it.

    Returns:
        The network.

    Raises:
        WeightsError: If there is no such network, what provides it is not installed, or it does not end in a linear
            layer.
    """
    if name.startswith(TORCHVISION):
        return _of_torchvision(name.removeprefix(TORCHVISION), classes)
    if name.startswith(TRANSFORMERS):
        return _of_transformers(name.removeprefix(TRANSFORMERS), classes)
    network = load_network(name)
    if classes is not None:
        _fit_head(name, network, classes)
    return network


def head_of(model: nn.Module) -> str:
    """Name of the last layer: the module that owns the last weight of a convolution or linear layer.

    Args:
        model: The network.
    """
    return list(compressible(model))[-1].rpartition(".")[0]


def torchvision_models() -> Any:
    """The module torchvision.models.

    Raises:
        WeightsError: If it is not installed, or was built for another torch.
    """
    try:
        import torchvision.models
    except (ImportError, RuntimeError, AttributeError) as error:
        raise WeightsError(
            f"torchvision cannot be imported ({' '.join(str(error).split())}); install the build that goes with this "
            "torch: pip install torchvision from the same index"
        ) from error
    return torchvision.models


def transformers_module() -> Any:
    """The module transformers.

    Raises:
        WeightsError: If it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(f"transformers cannot be imported ({error}); install shrinkscope[vit]") from error
    return transformers


def _of_torchvision(name: str, classes: int | None) -> nn.Module:
    models = torchvision_models()
    try:
        return models.get_model(name, weights=None, **({} if classes is None else {"num_classes": classes}))
    except ValueError as error:
        raise WeightsError(f"torchvision has no network {name!r}; see torchvision.models.list_models()") from error


def _of_transformers(name: str, classes: int | None) -> nn.Module:
    library = transformers_module()
    try:
        known = name == _VIT and not Path(name).is_dir()
        config = library.ViTConfig() if known else library.AutoConfig.from_pretrained(name)
        if classes is not None:
            config.num_labels = classes
        return Logits(library.AutoModelForImageClassification.from_config(config))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"transformers has no network {name!r} here ({first_line(error)}); without a connection give the folder "
            "of its config.json and model.safetensors"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened.

    Args:
        error: The error.
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _fit_head(name: str, network: nn.Module, classes: int) -> None:
    place = head_of(network)
    head = network.get_submodule(place)
    if not isinstance(head, nn.Linear):
        raise WeightsError(
            f"{name} ends in {place}, a {type(head).__name__}; expected a linear layer, which can be replaced for "
            f"{classes} classes"
        )
    if head.out_features != classes:
        new = nn.Linear(head.in_features, classes, bias=head.bias is not None)
        parent, _, own = place.rpartition(".")
        setattr(network.get_submodule(parent), own, new)
