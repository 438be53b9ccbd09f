"""Weights of a live module: effective values, whatever masks or parametrisations produce them; tied weights once."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from shrinkscope.kernel import type_name
from shrinkscope.weights.module_role import role_in_module
from shrinkscope.weights.role import Role
from shrinkscope.weights.view import TensorView, Weights


def weights_of_module(module: nn.Module) -> Weights:
    """The parameters and buffers of a module as they act in its forward pass.

    Args:
        module: Any module; modules under ``torch.nn.utils.prune`` or ``parametrize`` are understood.

    Returns:
        Effective tensors under plain names, in the order of registration, tied weights once.
    """
    views: list[TensorView] = []
    first_name: dict[int, str] = {}
    tied: dict[str, str] = {}
    for name, owner, attribute, identity in _tensors(module):
        if identity in first_name:
            tied[name] = first_name[identity]
            continue
        first_name[identity] = name
        views.append(_view(name, owner, attribute))
    return Weights(views, origin=type(module).__name__, tied=tied)


def _tensors(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, int]]:
    """Yield plain name, owner, attribute and the identity of the stored tensor behind it."""
    # remove_duplicate=False: a module registered twice has every name of its weights listed as tied.
    for prefix, owner in module.named_modules(remove_duplicate=False):
        if ".parametrizations" in f".{prefix}":
            continue
        for attribute, stored in _attributes(owner):
            yield (f"{prefix}.{attribute}" if prefix else attribute), owner, attribute, id(stored)


def _attributes(owner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the plain attribute names of one module, each with the tensor that is stored for it."""
    if parametrize.is_parametrized(owner):
        for attribute, chain in owner.parametrizations.items():  # type: ignore[union-attr]
            # A chain with several originals (weight norm) has no single stored tensor: its own identity serves.
            yield attribute, getattr(chain, "original", chain)  # type: ignore[misc]
    stored = dict(owner.named_parameters(recurse=False)) | dict(owner.named_buffers(recurse=False))
    for attribute, tensor in stored.items():
        if attribute.endswith("_mask") and f"{attribute[:-5]}_orig" in stored:
            continue
        pruned = attribute.endswith("_orig") and f"{attribute[:-5]}_mask" in stored
        yield (attribute[:-5] if pruned else attribute), tensor


def _view(name: str, owner: nn.Module, attribute: str) -> TensorView:
    with torch.no_grad():
        tensor = _effective(owner, attribute)
    role: Role = role_in_module(owner, attribute, tensor.dim())
    load: Callable[[], Tensor] = lambda: _effective(owner, attribute)  # noqa: E731
    return TensorView(name=name, shape=tuple(tensor.shape), type=type_name(tensor.dtype), role=role, load=load)


def _effective(owner: nn.Module, attribute: str) -> Tensor:
    parameters = dict(owner.named_parameters(recurse=False)) | dict(owner.named_buffers(recurse=False))
    original, mask = parameters.get(f"{attribute}_orig"), parameters.get(f"{attribute}_mask")
    if original is not None and mask is not None:
        # torch.nn.utils.prune refreshes the plain attribute only in its forward hook: after a step of the
        # optimiser it is stale, and original with mask is what the next forward pass will use.
        return torch.where(mask.bool(), original, torch.zeros_like(original)).detach()
    return getattr(owner, attribute).detach()
