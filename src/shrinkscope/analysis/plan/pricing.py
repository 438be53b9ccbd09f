"""What a choice of rungs takes: numbers, bytes, operations or bits, and how much of it is allowed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.knapsack import least_cost
from shrinkscope.analysis.plan.ladder import Rung
from shrinkscope.analysis.plan.parts import PlanSettings
from shrinkscope.analysis.plan.prices import as_bytes, counted_operations
from shrinkscope.errors import CompressionError


class Pricing(Protocol):
    """What rungs cost together."""

    @property
    def table(self) -> Mapping[str, Sequence[int]]:
        """Unit → price of each of its rungs, the other units dense."""
        ...

    @property
    def others(self) -> int:
        """What everything else costs, which no choice changes."""
        ...

    @property
    def least(self) -> int:
        """The least that all units can cost, without the others."""
        ...

    def of(self, positions: Mapping[str, int], /) -> int:
        """What these rungs cost, without the others."""
        ...

    def change(self, now: Mapping[str, int], moves: Mapping[str, int], /) -> int:
        """What moving some units to other rungs adds."""
        ...

    def cheapest(self, costs: Mapping[str, Sequence[float]], total: int, /) -> Counts:
        """Rungs of little summed cost within so much."""
        ...


class Separable(NamedTuple):
    """Prices that add up: ``table`` is layer → price of each rung, ``others`` what everything unplanned costs."""

    table: Mapping[str, Sequence[int]]
    others: int = 0

    @property
    def least(self) -> int:
        """The least that all layers can cost, without the others."""
        return sum(min(of_layer) for of_layer in self.table.values())

    def of(self, positions: Mapping[str, int], /) -> int:
        """What these rungs cost, without the others.

        Args:
            positions: Layer → rung.
        """
        return sum(self.table[name][position] for name, position in positions.items())

    def change(self, now: Mapping[str, int], moves: Mapping[str, int], /) -> int:
        """What moving some layers to other rungs adds.

        Args:
            now: Layer → rung.
            moves: Layer → its new rung.
        """
        return sum(self.table[name][rung] - self.table[name][now[name]] for name, rung in moves.items())

    def cheapest(self, costs: Mapping[str, Sequence[float]], total: int, /) -> Counts:
        """The rungs of least summed cost within so much.

        Args:
            costs: Layer → cost of each of its rungs; infinite where it is not to be chosen.
            total: Most that all layers may cost together.

        Raises:
            CompressionError: If the cheapest rungs are beyond that.
        """
        return least_cost(costs, self.table, total)


def size_pricing(model: nn.Module, ladders: Mapping[str, Sequence[Rung]]) -> Separable:
    """Bytes of all parameters and buffers.

    Args:
        model: The network.
        ladders: Layer → its rungs, the dense one first.
    """
    prices = {name: tuple(rung.bytes for rung in rungs) for name, rungs in ladders.items()}
    stored = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    return Separable(prices, stored - sum(of_layer[0] for of_layer in prices.values()))


def operation_pricing(
    model: nn.Module, weights: Mapping[str, Tensor], ladders: Mapping[str, Sequence[Rung]], inputs: Tensor
) -> Separable:
    """Floating-point operations of a pass over one input, two for each product.

    Args:
        model: The network.
        weights: Layer → dense weight.
        ladders: Layer → its rungs, the dense one first.
        inputs: At least one input.

    Raises:
        CompressionError: If what a layer takes is not known.
    """
    every, of_layers = counted_operations(model, weights, inputs[:1])
    places = {name: of_layers[name] // max(weight.numel(), 1) for name, weight in weights.items()}
    prices = {name: tuple(places[name] * rung.products for rung in rungs) for name, rungs in ladders.items()}
    return Separable(prices, every - sum(of_layers.values()))


def number_pricing(ladders: Mapping[str, Sequence[Rung]]) -> Separable:
    """Numbers that the planned layers store.

    Args:
        ladders: Layer → its rungs.
    """
    return Separable({name: tuple(rung.numbers for rung in rungs) for name, rungs in ladders.items()})


def bit_pricing(weights: Mapping[str, Tensor], ladders: Mapping[str, Sequence[Rung]]) -> Separable:
    """Bits of the planned weights, without the steps.

    Args:
        weights: Layer → dense weight.
        ladders: Layer → its rungs.
    """
    return Separable(
        {
            name: tuple((rung.bits or 8 * weights[name].element_size()) * rung.numbers for rung in rungs)
            for name, rungs in ladders.items()
        }
    )


def allowed(pricing: Pricing, settings: PlanSettings, weights: int, smallest: str) -> int:
    """What the planned layers may cost together.

    Args:
        pricing: In the currency that is asked for.
        settings: What is asked for: sparsity, size, flops or bits.
        weights: Number of planned weights.
        smallest: What everything is at the least that it can cost, in words.

    Raises:
        CompressionError: If that is not to be reached.
    """
    dense = pricing.others + pricing.of(dict.fromkeys(pricing.table, 0))
    asked, what, unit = _asked(settings, dense, weights)
    least = pricing.others + pricing.least
    if asked < least:
        found = f"{least:,} of its {dense:,} {unit}"
        found += f", sparsity {1 - least / dense:.3f}" if unit == "weights" else ""
        found += f", {least / weights:.2f} a weight" if unit == "bits" else ""
        raise CompressionError(f"{what} cannot be reached: with {smallest} the network takes {found}")
    return asked - pricing.others


def _asked(settings: PlanSettings, dense: int, weights: int) -> tuple[int, str, str]:
    """So much in all, how that was said, and its unit."""
    if settings.size is not None:
        asked = as_bytes(settings.size, dense)
        return asked, f"size = {asked:,} bytes", "bytes"
    if settings.flops is not None:
        if not 0 < settings.flops < math.inf:
            raise CompressionError(
                f"flops is {settings.flops!r}; expected a share below 1, such as 0.5, or a number of operations"
            )
        asked = int(settings.flops * dense if settings.flops < 1 else settings.flops)
        return asked, f"flops = {settings.flops:g}", "operations"
    if settings.sparsity is not None:
        return dense - round(settings.sparsity * dense), f"sparsity = {settings.sparsity:g}", "weights"
    assert settings.bits is not None  # one of them is there
    return int(settings.bits * weights), f"bits = {settings.bits:g}", "bits"
