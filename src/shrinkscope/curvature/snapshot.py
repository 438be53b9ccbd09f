"""A network at fixed weights: a plain copy in evaluation mode, and the parameters that are varied."""

import copy
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from shrinkscope.errors import CurvatureError, SelectionError
from shrinkscope.weights import LayerSelection, LayersLike, Role, open_weights

_DTYPES = (torch.float32, torch.float64)


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that later changes of the network do not touch.

    Masks and parametrisations are folded into the weights: curvature is that of the effective weights.

    Args:
        model: The network; unchanged.

    Returns:
        The copy, without gradients.

    Raises:
        CurvatureError: If it has no parameters, they differ in type or device, are not float32 or float64, or are not
            finite.
    """
    # The masked weight that torch.nn.utils.prune leaves behind is part of a graph, which deepcopy refuses to copy.
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    plain = copy.deepcopy(model, memo)
    _fold(plain)
    for parameter in plain.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    _check(plain)
    return plain.eval()


def chosen_parameters(plain: nn.Module, layers: LayersLike) -> dict[str, nn.Parameter]:
    """The parameters that are varied, in the order of the network.

    Args:
        plain: A plain copy.
        layers: Names of layers (``"fc1"``, with all they hold) or parameters (``"fc1.weight"``), globs of either, or a
            LayerSelection; all parameters when None.

    Returns:
        Name → parameter, at least one; tied parameters once.

    Raises:
        SelectionError: If nothing is selected; the nearest names are listed.
    """
    asked = LayerSelection.of(layers)
    selection = LayerSelection(
        include=tuple(glob for name in asked.include for glob in (name, f"{name}.*")),
        exclude=tuple(glob for name in asked.exclude for glob in (name, f"{name}.*")),
        roles=asked.roles,
    )
    roles: dict[str, Role] = {view.name: view.role for view in open_weights(plain).values()}
    parameters = dict(plain.named_parameters())
    found = {name: p for name, p in parameters.items() if selection.matches(name, roles[name]) and p.numel()}
    if not found:
        raise SelectionError(f"no parameter is selected by {layers!r}; {nearest(asked.include, parameters)}")
    return found


def nearest(names: tuple[str, ...], known: "dict[str, nn.Parameter] | list[str]") -> str:
    """The end of a message about a name that is not there: the names most like it.

    Args:
        names: What was asked for.
        known: The names of parameters.
    """
    layers = [name.rpartition(".")[0] for name in known]
    candidates = list(dict.fromkeys([*known, *filter(None, layers)]))
    close = [match for name in names for match in get_close_matches(name, candidates, n=3, cutoff=0.5)]
    return f"the nearest are {', '.join(close)}" if close else f"there are {', '.join(candidates[:12])}"


def _fold(plain: nn.Module) -> None:
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module):
            _fold_parametrisations(module)
        for name in [name[:-5] for name, _ in list(module.named_parameters(recurse=False)) if name.endswith("_orig")]:
            if hasattr(module, f"{name}_mask"):
                prune.remove(module, name)


def _fold_parametrisations(module: nn.Module) -> None:
    # Not torch's remove_parametrizations: it deletes properties from the class, which a copy shares with its original.
    chains = dict(module.parametrizations.items())  # type: ignore[union-attr,operator]
    with torch.no_grad():
        values = {name: getattr(module, name).detach().clone() for name in chains}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, value in values.items():
        if next(chains[name].parameters(), None) is None:
            module.register_buffer(name, value)
        else:
            module.register_parameter(name, nn.Parameter(value))


def _check(plain: nn.Module) -> None:
    parameters = dict(plain.named_parameters())
    if not any(parameter.numel() for parameter in parameters.values()):
        raise CurvatureError(f"{type(plain).__name__} has no parameters; the curvature is taken with respect to them")
    kinds = sorted({f"{p.dtype} on {p.device}" for p in parameters.values()})
    if len(kinds) > 1:
        raise CurvatureError(f"the parameters are of several kinds ({', '.join(kinds)}); move the network to one")
    if next(iter(parameters.values())).dtype not in _DTYPES:
        raise CurvatureError(
            f"the parameters are {kinds[0]}; second derivatives need float32 or float64: model.float()"
        )
    for name, tensor in [*parameters.items(), *plain.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CurvatureError(f"{name} holds NaN or infinite values; repair the network")
