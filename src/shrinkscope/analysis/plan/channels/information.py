"""How much the predictions would tell that a channel is gone: what channels are put in order by."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.channels.groups import ChannelGroup
from shrinkscope.analysis.traced.channels import Channels
from shrinkscope.compression.locate import locate
from shrinkscope.curvature.likelihood import cotangents
from shrinkscope.performance import Reading
from shrinkscope.performance.outputs import scores_of

_DRAWS = 4  # labels an input


def ordered(
    model: nn.Module, channels: Channels, groups: Sequence[ChannelGroup], batches: Sequence[Tensor], reading: Reading
) -> tuple[list[ChannelGroup], dict[int, float], float]:
    """The channels of each group in the order in which they go, those first that matter least to the predictions.

    Let each channel be multiplied by a gate wherever a layer reads it. The order is that of E[(∂ log p(y|x)/∂gate)²]
    over inputs x and labels y that the network itself predicts: twice the KL, to second order, that closing the gate
    costs.

    Args:
        model: The dense network, in evaluation mode.
        channels: Of the network.
        groups: Of these channels.
        batches: Inputs.
        reading: How outputs are read.

    Returns:
        The groups, how much each channel matters, in nats, and what that took, in passes of the network over one input.

    Source: derived here; tests/analysis/plan/channels/test_channels.py compares it with gates one at a time.
    """
    scores, spent = gate_information(model, channels, batches, reading)
    found = []
    for group in groups:
        classes = sorted(group.classes, key=lambda number: (scores[number], number))
        found.append(ChannelGroup(name=group.name, layers=group.layers, classes=tuple(classes)))
    return found, scores, spent


def gate_information(
    model: nn.Module, channels: Channels, batches: Sequence[Tensor], reading: Reading
) -> tuple[dict[int, float], float]:
    """E[(∂ log p(y|x)/∂gate)²] of a gate on each channel, wherever it is read.

    Args:
        model: The network, in evaluation mode; left as it is.
        channels: Of the network.
        batches: Inputs.
        reading: How outputs are read.

    Returns:
        Class → nats, and what that took, in passes of the network over one input.
    """
    count = 1 + max((number for layer in channels.layers.values() for number in [*layer.made, *layer.read]), default=0)
    generator, squared, spent, seen = torch.Generator().manual_seed(0), torch.zeros(count).double(), 0.0, 0
    readers = {name: layer.read for name, layer in channels.layers.items() if layer.read}
    gates: list[Tensor] = []

    def reader(read: Sequence[int], dimensions: int) -> object:
        # Zeros that belong to no layer go to the gate of those that stay, which nobody asks for.
        index = torch.tensor(read).clamp_min(0)

        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            gate = gates[0][:, index.to(given[0].device)].to(given[0].dtype)
            shape = (
                (len(gate), len(read), *[1] * (dimensions - 2))
                if dimensions > 2
                else (len(gate), *[1] * (given[0].ndim - 2), len(read))
            )
            return (given[0] * gate.view(shape), *given[1:])

        return hook

    handles = []
    for name, read in readers.items():
        place = locate(model, name)
        handles.append(place.owner.register_forward_pre_hook(reader(read, place.parameter.ndim)))  # type: ignore[arg-type]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for batch in batches:
            gates[:] = [torch.ones(len(batch), count, device=batch.device, requires_grad=True)]
            with torch.enable_grad():
                scores = scores_of("the network", model(batch), reading.outputs)
            drawn = cotangents(
                scores.detach(),
                reading.kind_of(scores),
                scale=1.0 if reading.scale is None else reading.scale,
                counts=reading.counts(batch),
                draws=_DRAWS,
                generator=generator,
            )
            for cotangent in drawn.each:
                (slope,) = torch.autograd.grad(scores, gates, cotangent.to(scores), retain_graph=True)
                squared += slope.double().square().sum(dim=0).cpu()
            spent, seen = spent + len(batch) * (1 + 2 * _DRAWS), seen + len(batch)
    finally:
        for handle in handles:
            handle.remove()
        for parameter, flag in zip(model.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
    return dict(enumerate((squared / max(seen, 1)).tolist())), spent
