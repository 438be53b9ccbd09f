"""Which layers have weights that multiply an input, and what their rows, columns and groups are."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import msgspec
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from shrinkscope.curvature.attention import OpenAttention
from shrinkscope.curvature.convolution import Product, opened
from shrinkscope.curvature.layer_rows import Rows, convolution_rows, linear_rows, transposed_rows
from shrinkscope.curvature.snapshot import chosen_parameters
from shrinkscope.weights import LayersLike, open_weights

_TRANSPOSED = (nn.ConvTranspose1d.forward, nn.ConvTranspose2d.forward, nn.ConvTranspose3d.forward)
_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")

UNSEEN = "its module was not called on these inputs"
"""Why a layer has no statistic although its kind is known."""


class Tap(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One module that multiplies its input with a weight.

    Attributes:
        module: The module whose calls tell the input.
        rows: How they tell it.
        groups: Groups of rows of weights with an input each.
        group: The only group that this module applies; all when None.
        block: Columns that belong together: the kernel positions of one channel; None where no columns do.
        kernel: Kernel positions of a transposed convolution; None for every other layer.
    """

    module: nn.Module
    rows: Rows
    groups: int = 1
    group: int | None = None
    block: int | None = None
    kernel: int | None = None


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
        kernel: As for ``Tap``.
        shape: Shape of the weight.
    """

    name: str
    names: tuple[str, ...]
    taps: tuple[Tap, ...]
    groups: int
    outputs: int
    columns: int
    block: int | None
    kernel: int | None
    shape: tuple[int, ...]


def watched_layers(plain: nn.Module, layers: LayersLike) -> tuple[dict[str, WatchedLayer], dict[str, str]]:
    """The selected weights that multiply an input, and why the others do not.

    Args:
        plain: A plain copy of the network, opened (``opened_copy``).
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
    tied: dict[str, list[str]] = defaultdict(list)
    for name, first in open_weights(plain).tied.items():
        tied[first].append(name)
    found: dict[str, WatchedLayer] = {}
    absent: dict[str, str] = {}
    for name, parameter in chosen_parameters(plain, layers).items():
        taps = [tap for module, attribute in owners[id(parameter)] for tap in _taps(module, attribute)]
        reason = next((tap for tap in taps if isinstance(tap, str)), None) or _disagreement(taps)
        if reason is not None:
            absent |= dict.fromkeys((name, *tied[name]), reason)
            continue
        found[name] = _layer((name, *tied[name]), parameter, [tap for tap in taps if isinstance(tap, Tap)])
    return found, absent


@contextmanager
def watching(layers: dict[str, WatchedLayer], receive: Callable[[str, Tensor, int | None], None]) -> Iterator[None]:
    """Hand on the input of every layer while the network runs.

    Args:
        layers: The layers.
        receive: Called with the name of a weight, a chunk of its vectors, shape (groups, vectors, columns), and the
            only group they belong to, or None.

    Yields:
        Nothing.
    """

    def hook(name: str, tap: Tap) -> Callable[..., None]:
        def see(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            for chunk in tap.rows(module, arguments, named):
                receive(name, chunk, tap.group)

        return see

    handles = [
        tap.module.register_forward_pre_hook(hook(name, tap), with_kwargs=True)
        for name, layer in layers.items()
        for tap in layer.taps
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def passed_over(layers: dict[str, WatchedLayer]) -> dict[str, str]:
    """Why layers have no statistic whose modules, when they were called, multiplied their input with something else.

    Args:
        layers: The layers, after the network has run.

    Returns:
        Every name of such a layer → the reason.
    """
    why = "no input is known for the weight: its module convolves with another, such as a standardised one"
    return {
        name: why
        for layer in layers.values()
        if any(isinstance(tap.module, Product) and tap.module.passed_over for tap in layer.taps)
        for name in layer.names
    }


def _taps(module: nn.Module, attribute: str) -> "list[Tap | str]":
    """How a module uses one of its parameters, or why that is not known."""
    kind = type(module)
    if isinstance(module, OpenAttention) and attribute in ("in_proj_weight", *_SEPARATE):
        projections = (module.query_projection, module.key_projection, module.value_projection)
        if attribute == "in_proj_weight":
            return [Tap(module=one, rows=linear_rows, groups=3, group=one.position) for one in projections]
        return [Tap(module=projections[_SEPARATE.index(attribute)], rows=linear_rows)]
    if attribute == "weight" and isinstance(module, nn.Linear) and kind.forward is nn.Linear.forward:
        return [Tap(module=module, rows=linear_rows)]
    product = opened(module)
    if attribute == "weight" and product is not None:
        block = math.prod(product.kernel_size)
        return [Tap(module=product, rows=convolution_rows, groups=product.groups, block=block)]
    if attribute == "weight" and (_is_convolution(module) or _is_transposed(module)):
        kernel = module.weight[0, 0].numel()
        rows, own = (transposed_rows, kernel) if _is_transposed(module) else (convolution_rows, None)
        return [Tap(module=module, rows=rows, groups=module.groups, block=kernel, kernel=own)]
    return [f"no input is known for the {attribute} of a {kind.__name__}"]


def _is_convolution(module: nn.Module) -> TypeGuard[_ConvNd]:
    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))


def _is_transposed(module: nn.Module) -> TypeGuard[_ConvTransposeNd]:
    return isinstance(module, _ConvTransposeNd) and type(module).forward in _TRANSPOSED


def _disagreement(taps: "list[Tap | str]") -> str | None:
    shapes = {(tap.groups, tap.block, tap.kernel) for tap in taps if isinstance(tap, Tap)}
    return "tied between layers with different groups" if len(shapes) > 1 else None


def _layer(names: tuple[str, ...], parameter: nn.Parameter, taps: list[Tap]) -> WatchedLayer:
    first, shape = taps[0], tuple(parameter.shape)
    outputs = shape[0] // first.groups if first.kernel is None else shape[1]
    return WatchedLayer(
        name=names[0],
        names=names,
        taps=tuple(taps),
        groups=first.groups,
        outputs=outputs,
        columns=parameter.numel() // (first.groups * outputs),
        block=first.block,
        kernel=first.kernel,
        shape=shape,
    )
