"""Where in a module the weight of a plain name lives, and whether it may be written."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize

from shrinkscope.compression.checks import listing
from shrinkscope.compression.held import held_masks
from shrinkscope.errors import CompressionError
from shrinkscope.weights import open_weights


class Place(NamedTuple):
    """A plain parameter of a module: the module that owns it, the attribute, and the parameter itself."""

    owner: nn.Module
    attribute: str
    parameter: nn.Parameter


def locate(model: nn.Module, name: str) -> Place:
    """Find the parameter of a plain name.

    Args:
        model: The network.
        name: Name of the weight in the plain network, for example ``"conv1.weight"``.

    Returns:
        Its place.

    Raises:
        CompressionError: If there is no such weight, or its value is computed from others (held by a mask, under
            ``torch.nn.utils.prune``, parametrised, a buffer), so that writing it would not last.
    """
    path, _, attribute = name.rpartition(".")
    try:
        owner = model.get_submodule(path)
    except AttributeError:
        raise unknown_layer(model, name) from None
    parameter = owner._parameters.get(attribute)
    if parameter is not None:
        return Place(owner, attribute, parameter)
    raise CompressionError(_obstacle(owner, attribute, name)) if _has(owner, attribute) else unknown_layer(model, name)


def places_of(model: nn.Module, parameter: nn.Parameter) -> list[Place]:
    """All places of one parameter; several when weights are tied.

    Args:
        model: The network.
        parameter: One of its parameters.

    Returns:
        Its places, in the order of registration.
    """
    return [
        Place(owner, attribute, parameter)
        for owner in model.modules()
        for attribute, candidate in owner._parameters.items()
        if candidate is parameter
    ]


def unknown_layer(model: nn.Module, name: str) -> CompressionError:
    """The error for a name that the model does not have."""
    known = listing(open_weights(model))
    return CompressionError(f"{type(model).__name__} has no weight {name!r}; its weights are {known}")


def _has(owner: nn.Module, attribute: str) -> bool:
    return isinstance(getattr(owner, attribute, None), Tensor) or f"{attribute}_orig" in owner._parameters


def _obstacle(owner: nn.Module, attribute: str, name: str) -> str:
    if attribute in held_masks(owner):
        return f"{name} is held by a mask already; release(model) first"
    if parametrize.is_parametrized(owner, attribute):
        chain = owner.parametrizations[attribute]  # type: ignore[index, union-attr]
        kinds = ", ".join(type(link).__name__ for link in chain)  # type: ignore[union-attr]
        return f"{name} is parametrised by {kinds}; torch.nn.utils.parametrize.remove_parametrizations it first"
    if f"{attribute}_orig" in owner._parameters:
        return (
            f"{name} is pruned by torch.nn.utils.prune; make that permanent first: prune.remove(module, {attribute!r})"
        )
    return f"{name} is no parameter but a buffer or a computed value, which compression cannot write"
