"""One candidate: the layer's weight at one level of one method, and what is known of it before anything runs."""

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from shrinkscope.analysis.measure import measure
from shrinkscope.analysis.scan.methods import Sweep
from shrinkscope.analysis.scan.records import ScanRow
from shrinkscope.compression import StructuredPruning
from shrinkscope.compression.locate import Place, locate
from shrinkscope.errors import CompressionError
from shrinkscope.latent import Latent
from shrinkscope.weights import TensorPair, TensorView, open_weights


class Layer(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A layer that is scanned.

    Attributes:
        view: Its weight.
        place: Where the weight lives; None when it cannot be written.
        obstacle: Why it cannot.
        tied: Other names of the same weight.
    """

    view: TensorView
    place: Place | None
    obstacle: str | None
    tied: tuple[str, ...]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A candidate that can be put through the network, or the row that says why not.

    Attributes:
        row: What its weights tell; not measurable when it cannot be run.
        weight: The weight that the layer would have; None when it cannot be run.
    """

    row: ScanRow
    weight: Tensor | None


def layers_of(model: nn.Module, names: Sequence[str]) -> list[Layer]:
    """The layers of these names.

    Args:
        model: The network.
        names: Plain names of weights, tied ones by their first name.
    """
    weights = open_weights(model)
    found = []
    for name in names:
        place, obstacle = None, None
        try:
            place = locate(model, name)
        except CompressionError as error:
            obstacle = str(error)
        tied = tuple(other for other, first in weights.tied.items() if first == name)
        found.append(Layer(view=weights[name], place=place, obstacle=obstacle, tied=tied))
    return found


def candidate(layer: Layer, sweep: Sweep, level: float, latents: Sequence[Latent], seed: int) -> Candidate:
    """Compress one layer, in memory of its own, and compare it with what it was.

    Args:
        layer: The layer.
        sweep: The method.
        level: One of its levels.
        latents: Latent distributions of the AP3 columns.
        seed: Of methods that draw: the same draw as ``compress`` of this layer alone with a generator of this seed.
    """
    view, method = layer.view, sweep.methods[level]
    row = ScanRow(
        layer=view.name,
        role=view.role,
        shape=view.shape,
        parameters=view.parameters,
        method=sweep.name,
        level=level,
        description=str(method),
    )
    obstacle = layer.obstacle or _cannot_be_applied(layer, sweep, level)
    if obstacle is not None:
        return _refused(row, obstacle)
    try:
        weight = method.compress({view.name: view.read()}, torch.Generator().manual_seed(seed))[view.name]
    except CompressionError as error:
        return _refused(row, str(error))
    return _compared(row, layer, weight, latents)


def _compared(row: ScanRow, layer: Layer, weight: Tensor, latents: Sequence[Latent]) -> Candidate:
    after = msgspec.structs.replace(layer.view, load=lambda: weight)
    record, _ = measure(TensorPair(dense=layer.view, compressed=after), latents)
    if not record.measurable:
        return _refused(row, record.reason or "its weights cannot be compared")
    row = msgspec.structs.replace(row, changed=record.changed, sparsity=record.sparsity)
    if not record.changed:
        return _refused(row, "changes nothing: at this level every weight stays what it is")
    tied = f"tied with {', '.join(layer.tied)}: all change together" if layer.tied else None
    row = msgspec.structs.replace(
        row,
        ap2=record.ap2,
        relative_ap2=record.relative_ap2,
        divergences=record.divergences,
        reason="; ".join(part for part in (record.reason, tied) if part) or None,
    )
    return Candidate(row=row, weight=weight)


def _refused(row: ScanRow, reason: str) -> Candidate:
    return Candidate(row=msgspec.structs.replace(row, measurable=False, reason=reason), weight=None)


def _cannot_be_applied(layer: Layer, sweep: Sweep, level: float) -> str | None:
    structured = isinstance(sweep.methods[level], StructuredPruning)
    if structured and layer.place is not None and isinstance(layer.place.owner, _ConvTransposeNd):
        return (
            "cannot be applied: the output channels of a transposed convolution are dimension 1, and structured "
            "pruning removes along dimension 0"
        )
    return None
