"""Groups of channels that can be removed: which layers they cut, and which rows and columns of each."""

from collections.abc import Collection, Sequence

import msgspec
import torch
from torch import Tensor

from shrinkscope.analysis.traced.channels import FIXED, NOTHING, Channels


class ChannelGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Channels of the same layers, of which any number but all can go.

    Attributes:
        name: The first layer that makes them.
        layers: All layers that make them: those whose outputs are added, and depthwise layers behind.
        classes: Numbers of the channels; in the order in which they go once that is known.
    """

    name: str
    layers: tuple[str, ...]
    classes: tuple[int, ...]


def channel_groups(channels: Channels, planned: Collection[str]) -> list[ChannelGroup]:
    """The channels of a network that may go, those of the same layers together.

    Args:
        channels: Of the network.
        planned: Layers that may be changed; a channel that another one makes or reads has to stay.

    Returns:
        The groups, in the order of their first layers.
    """
    makers: dict[int, list[str]] = {}
    stay = {FIXED, NOTHING}
    for name, layer in channels.layers.items():
        for number in layer.made:
            makers.setdefault(number, []).append(name)
        if name not in planned:
            stay.update(layer.made, layer.read)
    found: dict[tuple[str, ...], list[int]] = {}
    for number, layers in makers.items():
        if number not in stay:
            found.setdefault(tuple(dict.fromkeys(layers)), []).append(number)
    named: set[str] = set()
    groups = []
    for layers, classes in found.items():
        # Of streams that widen, the first layer of the later ones makes the earlier ones' channels, too.
        name = next((layer for layer in layers if layer not in named), layers[0])
        named.add(name)
        groups.append(ChannelGroup(name=name, layers=layers, classes=tuple(classes)))
    return groups


def places_in(classes: Sequence[int], group: ChannelGroup) -> Tensor:
    """At which place of a group's order each entry goes; −1 where it is none of its channels.

    Args:
        classes: Of each entry.
        group: The channels, in the order in which they go.
    """
    order = {number: place for place, number in enumerate(group.classes)}
    return torch.tensor([order.get(number, -1) for number in classes], dtype=torch.long)
