"""One group of channels from all there to the harshest position, in every tensor that has an entry for them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.channels.groups import ChannelGroup, places_in
from shrinkscope.analysis.traced.channels import Channels


class ChannelPath:
    """The parameters of one group with some of its channels at zero: rows of weights, entries of biases and batch norm.

    What reads the channels is not touched: it reads zeros.

    Args:
        model: The dense network.
        channels: Of the network.
        group: The channels, in the order in which they go.
    """

    def __init__(self, model: nn.Module, channels: Channels, group: ChannelGroup) -> None:
        self.size = len(group.classes) - 1  # one stays
        entries = {name: layer.made for name, layer in channels.layers.items()} | channels.vectors
        self.names: list[str] = []
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []
        for name, classes in entries.items():
            places = places_in(classes, group)
            rows = (places >= 0).nonzero().flatten()
            if len(rows):
                self.names.append(name)
                dense = model.get_parameter(name).detach()[rows].clone()
                self._rows.append((rows, places[rows], dense))

    def write(self, parameters: Sequence[Tensor], position: int) -> None:
        """Set the first so many channels to zero, and the others to what they were.

        Args:
            parameters: Those of ``names``.
            position: Number of channels that go.
        """
        for parameter, (rows, places, dense) in zip(parameters, self._rows, strict=True):
            kept = (places >= position).view(-1, *[1] * (dense.ndim - 1)).to(dense.device)
            parameter[rows] = torch.where(kept, dense, torch.zeros_like(dense))

    def change(self, *gradients: Tensor) -> Tensor:
        """What a function changes by for every number of channels that go, to first order.

        Args:
            gradients: Of the function in each of the parameters of ``names``.

        Returns:
            Float64 of length size + 1, on the CPU.
        """
        found = torch.zeros(self.size + 2, dtype=torch.float64)
        for gradient, (rows, places, dense) in zip(gradients, self._rows, strict=True):
            terms = (gradient[rows].double() * dense.double()).flatten(1 if dense.ndim > 1 else 0)
            found.index_add_(0, places + 1, -(terms.sum(dim=1) if terms.ndim > 1 else terms).cpu())
        return found.cumsum(0)[:-1]

    def settle(self, position: int) -> None:
        """Nothing: every position is exact.

        Args:
            position: Number of channels that go.
        """


def gone(groups: Sequence[ChannelGroup], positions: Mapping[str, int]) -> set[int]:
    """The classes that go.

    Args:
        groups: Each in the order in which its channels go.
        positions: Group → number of channels that go.
    """
    return {number for group in groups for number in group.classes[: positions[group.name]]}
