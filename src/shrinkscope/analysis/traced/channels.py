"""The channels of a network's layers, as numbers of classes; channels of one class go together or not at all."""

from collections.abc import Iterable

import msgspec

FIXED, NOTHING = 0, -1
"""The class of channels that have to stay, and that of zeros, which belong to no layer."""


class LayerChannels(msgspec.Struct):
    """The channels of one layer.

    Attributes:
        made: Class of each output channel.
        read: Class of each column of inputs; empty where each output channel has inputs of its own, as in depthwise
            convolutions.
    """

    made: list[int]
    read: list[int]


class Channels(msgspec.Struct):
    """All that has an entry for a channel.

    Attributes:
        layers: Weight of a convolution or linear layer → its channels.
        vectors: Parameter with one entry a channel (a bias, batch norm's weight and bias) → their classes.
        buffers: Buffer with one entry a channel (batch norm's statistics) → their classes.
    """

    layers: dict[str, LayerChannels] = {}
    vectors: dict[str, list[int]] = {}
    buffers: dict[str, list[int]] = {}


class Classes:
    """Numbers that become one when channels are found to be one and the same."""

    def __init__(self) -> None:
        self._same = [FIXED]

    def new(self, count: int) -> list[int]:
        """So many classes of their own.

        Args:
            count: How many.
        """
        first = len(self._same)
        self._same.extend(range(first, first + count))
        return list(range(first, first + count))

    def roots(self, numbers: Iterable[int]) -> list[int]:
        """The classes that numbers belong to by now.

        Args:
            numbers: As they were given out.
        """
        return [self._root(number) for number in numbers]

    def join(self, one: Iterable[int], other: Iterable[int]) -> list[int]:
        """Make classes one, pair by pair; zeros join whatever they meet, and what meets a fixed channel is fixed.

        Args:
            one: Classes.
            other: As many.
        """
        return [self._joined(*pair) for pair in zip(one, other, strict=True)]

    def fix(self, numbers: Iterable[int]) -> None:
        """Say that these have to stay.

        Args:
            numbers: Classes.
        """
        for number in numbers:
            if number != NOTHING:
                self._joined(FIXED, number)

    def _root(self, number: int) -> int:
        while number != NOTHING and self._same[number] != number:
            self._same[number] = self._same[self._same[number]]
            number = self._same[number]
        return number

    def _joined(self, one: int, other: int) -> int:
        one, other = self._root(one), self._root(other)
        if NOTHING in (one, other):
            return max(one, other)
        low, high = sorted((one, other))
        self._same[high] = low
        return low
