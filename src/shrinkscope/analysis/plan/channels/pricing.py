"""What a network takes without some of its channels: a layer loses rows by its own, and columns by those it reads."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from shrinkscope.analysis.plan.channels.groups import ChannelGroup, places_in
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.traced.channels import Channels


class _Entries:
    """How many of a list of channels stay, by how many of each group go."""

    def __init__(self, classes: Sequence[int], groups: Sequence[ChannelGroup]) -> None:
        self.total, self.gone = len(classes), []
        for group in groups:
            places = places_in(classes, group)
            if bool((places >= 0).any()):
                counts = torch.bincount(places[places >= 0], minlength=len(group.classes))
                self.gone.append((group.name, [0, *counts.cumsum(0).tolist()]))

    def kept(self, positions: Mapping[str, int]) -> int:
        return self.total - sum(gone[positions[name]] for name, gone in self.gone)


class CoupledPrices:
    """Prices of a choice of channels, which do not add up: what two neighbours lose of the same weights counts once.

    Args:
        channels: Of the network.
        groups: Its groups, each in the order in which its channels go.
        weights: Layer → what one of its weights costs, and how many weights there are where a row meets a column.
        vectors: Vector with an entry a channel → what an entry costs.
        others: What everything else costs.
    """

    def __init__(
        self,
        channels: Channels,
        groups: Sequence[ChannelGroup],
        weights: Mapping[str, tuple[int, int]],
        vectors: Mapping[str, int],
        others: int = 0,
    ) -> None:
        self.others = others
        self._groups = groups
        self._layers = []
        for name, (price, meeting) in weights.items():
            layer = channels.layers[name]
            columns = _Entries(layer.read, groups) if layer.read else None
            self._layers.append((price * meeting, _Entries(layer.made, groups), columns))
        entries = channels.vectors | channels.buffers
        self._vectors = [(price, _Entries(entries[name], groups)) for name, price in vectors.items()]
        dense = dict.fromkeys((group.name for group in groups), 0)
        self.table = {
            group.name: tuple(self.of(dense | {group.name: gone}) for gone in range(len(group.classes)))
            for group in groups
        }

    @property
    def least(self) -> int:
        """The least that all groups can take, without the others: a channel each."""
        return self.of({group.name: len(group.classes) - 1 for group in self._groups})

    def of(self, positions: Mapping[str, int], /) -> int:
        """What so much takes, without the others.

        Args:
            positions: Group → number of channels that go.
        """
        layers = (
            price * rows.kept(positions) * (1 if columns is None else columns.kept(positions))
            for price, rows, columns in self._layers
        )
        return sum(layers) + sum(price * entries.kept(positions) for price, entries in self._vectors)

    def change(self, now: Mapping[str, int], moves: Mapping[str, int], /) -> int:
        """What moving some groups adds.

        Args:
            now: Group → number of channels that go.
            moves: Group → its new number.
        """
        return self.of({**now, **moves}) - self.of(now)

    def cheapest(self, costs: Mapping[str, Sequence[float]], total: int) -> Counts:
        """Channels of little summed cost within so much: step by step the least cost for what is saved then.

        Args:
            costs: Group → cost of each number that goes; infinite where it is not to be chosen.
            total: Most that all may take together.
        """
        now = dict.fromkeys(self.table, 0)
        taken = self.of(now)
        while taken > total:
            steps = []
            for name, position in now.items():
                for other in range(position + 1, len(costs[name])):
                    saved = -self.change(now, {name: other}) if costs[name][other] < float("inf") else 0
                    if saved > 0:
                        rise = max(0.0, costs[name][other] - costs[name][position])
                        # Of two that reach the budget the cheaper one, whatever else it saves.
                        steps.append((rise / min(saved, taken - total), name, other, saved))
            if not steps:
                break
            _, name, other, saved = min(steps)
            now[name], taken = other, taken - saved
        return now


def meeting_weights(model: nn.Module, channels: Channels) -> dict[str, int]:
    """Layer → number of weights where a row meets a column: the places of a convolution's kernel.

    Args:
        model: The network.
        channels: Of the network.
    """
    return {
        name: model.get_parameter(name).numel() // max(1, len(layer.made) * max(1, len(layer.read)))
        for name, layer in channels.layers.items()
    }
