"""Which layers have weights that multiply an input, and what their rows, columns and groups are."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import msgspec
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from shrinkscope.curvature.layer_rows import (
    Rows,
    convolution_rows,
    linear_rows,
    output_rows,
    packed_rows,
    projection_rows,
)
from shrinkscope.curvature.snapshot import chosen_parameters
from shrinkscope.weights import LayersLike, open_weights

_CONVOLUTIONS = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)
_CONVOLVE = (nn.Conv1d._conv_forward, nn.Conv2d._conv_forward, nn.Conv3d._conv_forward)
_ATTENTION: dict[str, tuple[int, Rows]] = {
    "in_proj_weight": (3, packed_rows),
    "q_proj_weight": (1, projection_rows(0)),
    "k_proj_weight": (1, projection_rows(1)),
    "v_proj_weight": (1, projection_rows(2)),
}

UNSEEN = "its module was not called on these inputs"
"""Why a layer has no statistic although its kind is known."""


class Tap(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One module that multiplies its input with a weight.

    Attributes:
        module: The module whose calls tell the input.
        rows: How they tell it.
        groups: Groups of rows of weights with an input each.
        block: Columns that belong together: the kernel positions of one channel; None where no columns do.
        outputs_seen: Whether the module returns the products of this weight and nothing else.
    """

    module: nn.Module
    rows: Rows
    groups: int = 1
    block: int | None = None
    outputs_seen: bool = True


class WatchedLayer(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A weight with the modules that use it.

    Attributes:
        name: Name of the weight.
        names: All its names, for tied weights.
        taps: The modules.
        groups: Groups of rows with an input each.
        outputs: Rows in each group.
        columns: Columns of a row.
        block: As for ``Tap``.
        shape: Shape of the weight.
    """

    name: str
    names: tuple[str, ...]
    taps: tuple[Tap, ...]
    groups: int
    outputs: int
    columns: int
    block: int | None
    shape: tuple[int, ...]


def watched_layers(plain: nn.Module, layers: LayersLike) -> tuple[dict[str, WatchedLayer], dict[str, str]]:
    """The selected weights that multiply an input, and why the others do not.

    Args:
        plain: A plain copy of the network.
        layers: As for ``chosen_parameters``.

    Returns:
        Name → layer, and name → reason.

    Raises:
        SelectionError: If nothing is selected.
    """
    owners: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in plain.modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            owners[id(parameter)].append((module, attribute))
    projections = {
        id(module.out_proj): module for module in plain.modules() if isinstance(module, nn.MultiheadAttention)
    }
    tied: dict[str, list[str]] = defaultdict(list)
    for name, first in open_weights(plain).tied.items():
        tied[first].append(name)
    found: dict[str, WatchedLayer] = {}
    absent: dict[str, str] = {}
    for name, parameter in chosen_parameters(plain, layers).items():
        taps = [_tap(module, attribute, projections) for module, attribute in owners[id(parameter)]]
        reason = next((tap for tap in taps if isinstance(tap, str)), None) or _disagreement(taps)
        if reason is not None:
            absent |= dict.fromkeys((name, *tied[name]), reason)
            continue
        found[name] = _layer((name, *tied[name]), parameter, [tap for tap in taps if isinstance(tap, Tap)])
    return found, absent


def seen_outputs(
    watched: dict[str, WatchedLayer], absent: dict[str, str], reason: str
) -> tuple[dict[str, WatchedLayer], dict[str, str]]:
    """The layers whose modules return their products, and why the others are left out.

    Args:
        watched: As from ``watched_layers``.
        absent: Likewise.
        reason: What to say of layers whose products are not seen.
    """
    seen = {name: layer for name, layer in watched.items() if all(tap.outputs_seen for tap in layer.taps)}
    hidden = [alias for name, layer in watched.items() if name not in seen for alias in layer.names]
    return seen, absent | dict.fromkeys(hidden, reason)


@contextmanager
def watching(layers: dict[str, WatchedLayer], receive: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Hand on the input of every layer while the network runs.

    Args:
        layers: The layers.
        receive: Called with the name of a weight and a chunk of its vectors, shape (groups, vectors, columns).

    Yields:
        Nothing.
    """
    inside = [False]

    def hook(name: str, rows: Rows) -> Callable[..., None]:
        def see(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            if inside[0]:
                return  # a module that is run again for what it does not return
            inside[0] = True
            try:
                for chunk in rows(module, arguments, named):
                    receive(name, chunk)
            finally:
                inside[0] = False

        return see

    handles = [
        tap.module.register_forward_pre_hook(hook(name, tap.rows), with_kwargs=True)
        for name, layer in layers.items()
        for tap in layer.taps
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tap(module: nn.Module, attribute: str, projections: dict[int, nn.MultiheadAttention]) -> Tap | str:
    """How a module uses one of its parameters, or why that is not known."""
    kind = type(module)
    if isinstance(module, nn.MultiheadAttention) and attribute in _ATTENTION:
        groups, rows = _ATTENTION[attribute]
        return Tap(module=module, rows=rows, groups=groups, outputs_seen=False)
    if attribute == "weight" and id(module) in projections:
        return Tap(module=projections[id(module)], rows=output_rows, outputs_seen=False)
    if attribute == "weight" and isinstance(module, nn.Linear) and kind.forward is nn.Linear.forward:
        return Tap(module=module, rows=linear_rows)
    if attribute == "weight" and _is_convolution(module):
        return Tap(module=module, rows=convolution_rows, groups=module.groups, block=module.weight[0, 0].numel())
    return f"no input is known for the {attribute} of a {kind.__name__}"


def _is_convolution(module: nn.Module) -> TypeGuard[_ConvNd]:
    # One that standardises its weights, say, overrides these methods: its weight is not what meets the input.
    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and (
        type(module).forward in _CONVOLUTIONS and type(module)._conv_forward in _CONVOLVE
    )


def _disagreement(taps: list[Tap | str]) -> str | None:
    shapes = {(tap.groups, tap.block) for tap in taps if isinstance(tap, Tap)}
    return "tied between layers with different groups" if len(shapes) > 1 else None


def _layer(names: tuple[str, ...], parameter: nn.Parameter, taps: list[Tap]) -> WatchedLayer:
    first = taps[0]
    return WatchedLayer(
        name=names[0],
        names=names,
        taps=tuple(taps),
        groups=first.groups,
        outputs=len(parameter) // first.groups,
        columns=parameter[0].numel(),
        block=first.block,
        shape=tuple(parameter.shape),
    )
