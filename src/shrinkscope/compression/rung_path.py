"""What the weights of one layer are on each of a few rungs, the mildest first."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from shrinkscope.compression.quantise import UniformQuantisation


class CompressionPath(Protocol):
    """One layer, or one group of channels, from dense to the harshest position that it can take."""

    @property
    def size(self) -> int:
        """The harshest position; 0 is dense."""
        ...

    def write(self, parameters: Sequence[Tensor], removed: int, /) -> None:
        """Make parameters, of which a layer has one and a group of channels several, what they are at a position."""
        ...

    @property
    def change(self) -> Callable[..., Tensor]:
        """First-order change of a function at every position, from its gradient in each of these parameters."""
        ...

    def settle(self, removed: int, /) -> None:
        """Make a position exact, where it was read off between others."""
        ...


class RungPath:
    """One layer's weights on a few rungs, of which the first is dense.

    Args:
        rungs: The weights on each rung, all of one shape, the dense ones first; read whenever they are needed, so that
            a sequence may make them then.
    """

    def __init__(self, rungs: Sequence[Tensor]) -> None:
        self._rungs = rungs

    @property
    def size(self) -> int:
        """The last rung."""
        return len(self._rungs) - 1

    def weight(self, position: int, /) -> Tensor:
        """The weights on a rung, of the layer's shape.

        Args:
            position: 0 is dense.
        """
        return self._rungs[position].detach()

    def write(self, parameters: Sequence[Tensor], position: int, /) -> None:
        """Make the layer's parameter what it is on a rung.

        Args:
            parameters: That one alone.
            position: 0 is dense.
        """
        parameters[0].copy_(self.weight(position))

    def change(self, gradient: Tensor, /) -> Tensor:
        """What a function of the weights changes by on each rung, to first order.

        Args:
            gradient: Of the function in the weights, of the layer's shape.

        Returns:
            Float64 of length size + 1, on the CPU: Σ g·(w(n) − w(0)) on rung n.
        """
        dense, rungs = self.weight(0).double(), range(self.size + 1)
        terms = [(gradient.double() * (self.weight(rung).double() - dense)).sum() for rung in rungs]
        return torch.stack(terms).cpu()

    def settle(self, position: int, /) -> None:
        """Nothing: every rung is exact.

        Args:
            position: 0 is dense.
        """


def bits_path(name: str, weight: Tensor, widths: Sequence[int]) -> RungPath:
    """A layer dense, then rounded to each width with a step for each output channel.

    Args:
        name: The layer, for messages.
        weight: The dense weight.
        widths: Bits for each weight, the widest first.

    Raises:
        CompressionError: If a width or a weight cannot be quantised.
    """
    return RungPath([weight, *(quantised(name, weight, bits) for bits in widths)])


def quantised(name: str, weight: Tensor, bits: int) -> Tensor:
    """A weight rounded to symmetric levels with a step for each output channel.

    Args:
        name: The layer, for messages.
        weight: The dense weight.
        bits: For each weight, 1 to 16.

    Raises:
        CompressionError: If the weight cannot be quantised so.
    """
    method = UniformQuantisation(bits=bits, granularity="channel")
    return method.compress({name: weight})[name]
