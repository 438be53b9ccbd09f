"""What a weight costs, in bytes or multiply-adds, and how much has to go for a budget of them."""

import math
from collections import defaultdict
from collections.abc import Mapping
from functools import reduce

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.traced.multiply_adds import of_module
from shrinkscope.compression.checks import listing
from shrinkscope.compression.locate import locate
from shrinkscope.errors import CompressionError
from shrinkscope.performance.forward import placement

_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "b": 1.0}


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much is to go.

    Attributes:
        prices: Layer → what one of its weights costs, a positive whole number without a common divisor.
        total: What has to go in all, in the unit of the prices.
    """

    prices: dict[str, int]
    total: int

    def met(self, removed: Counts, sizes: Mapping[str, int]) -> Counts:
        """Whole numbers of weights near what was chosen, that cost at least the total, by less than a weight more.

        Args:
            removed: Layer → what goes, in the unit of the prices, the total in all.
            sizes: Layer → number of weights.

        Returns:
            Layer → number of weights to remove.
        """
        counts = {name: min(sizes[name], removed[name] // price) for name, price in self.prices.items()}
        cheap = sorted(self.prices, key=lambda name: self.prices[name])
        for name in reversed(cheap):
            counts[name] += min(sizes[name] - counts[name], max(0, self._short(counts)) // self.prices[name])
        for name in cheap:
            counts[name] += min(sizes[name] - counts[name], -(-max(0, self._short(counts)) // self.prices[name]))
        return counts

    def _short(self, counts: Counts) -> int:
        return self.total - sum(counts[name] * price for name, price in self.prices.items())


def in_units(counts: Mapping[str, int], prices: Mapping[str, int] | None) -> Counts:
    """What numbers of weights cost.

    Args:
        counts: Layer → number of weights.
        prices: Layer → what a weight costs; 1 everywhere when None.
    """
    return {name: count if prices is None else count * prices[name] for name, count in counts.items()}


def byte_budget(model: nn.Module, weights: Mapping[str, Tensor], size: int | str) -> Budget:
    """What has to go for a network to fit into so many bytes, pruned tensors being stored as a bit mask and what stays.

    Args:
        model: The network; everything else in it stays as it is.
        weights: Layer → weight that may be pruned.
        size: Bytes of all parameters and buffers: a number, ``"400kB"``, ``"4MiB"``, or ``"0.3x"`` of those of now.

    Raises:
        CompressionError: If this is no size, or nothing that is planned could save so much.
    """
    dense = sum(tensor.numel() * tensor.element_size() for tensor in _stored(model))
    asked = as_bytes(size, dense)
    masks = sum(-(-weight.numel() // 8) for weight in weights.values())
    needed = 0 if asked >= dense else dense + masks - asked
    most = sum(weight.numel() * weight.element_size() for weight in weights.values())
    if needed > most:
        raise CompressionError(
            f"size = {asked:,} bytes cannot be reached: what is not planned, and the masks of what is, take "
            f"{dense + masks - most:,} of the network's {dense:,} bytes"
        )
    return _budget({name: weight.element_size() for name, weight in weights.items()}, needed)


def as_bytes(size: int | str, dense: int) -> int:
    """A number of bytes.

    Args:
        size: A number, or a text such as ``"400kB"``, ``"4MiB"``, ``"0.3x"``.
        dense: What ``"1x"`` is.

    Raises:
        CompressionError: If it is neither, or not positive.
    """
    text = str(size).strip().lower()
    unit = next((unit for unit in ("x", *_UNITS) if text.endswith(unit)), "")
    scale = dense if unit == "x" else _UNITS.get(unit, 1.0)
    try:
        found = float(text.removesuffix(unit)) * scale
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise CompressionError(f"size is {size!r}; expected bytes, such as 400000, '400kB', '4MiB', or '0.3x' of now")
    return round(found)


def flop_budget(model: nn.Module, weights: Mapping[str, Tensor], flops: float, inputs: Tensor) -> Budget:
    """What has to go for a pass over one input to take so many floating-point operations.

    Products with removed weights count nothing, which is so on hardware and in kernels that skip zeros.

    Args:
        model: The network.
        weights: Layer → weight that may be pruned.
        flops: Below 1 the share of what a pass takes now, otherwise a number: two for each product and sum.
        inputs: At least one input.

    Raises:
        CompressionError: If the number is not positive, is not to be reached, or what a layer takes is not known.
    """
    if not 0 < flops < math.inf:
        raise CompressionError(f"flops is {flops!r}; expected a share below 1, such as 0.5, or a number of operations")
    all_flops, of_layers = counted_operations(model, weights, inputs[:1])
    asked = flops * all_flops if flops < 1 else flops
    needed = max(0.0, all_flops - asked)
    if needed > sum(of_layers.values()):
        raise CompressionError(
            f"flops = {flops:g} cannot be reached: what is not planned takes "
            f"{all_flops - sum(of_layers.values()):,} of the {all_flops:,} operations of a pass"
        )
    prices = {name: of_layers[name] // (2 * weight.numel()) for name, weight in weights.items()}
    return _budget(prices, math.ceil(needed / 2))


def counted_operations(model: nn.Module, weights: Mapping[str, Tensor], inputs: Tensor) -> tuple[int, dict[str, int]]:
    """Operations of a pass over one input: those with any weights, and those with each layer's.

    Args:
        model: The network.
        weights: Layer → weight.
        inputs: One input.

    Returns:
        All of them, two for each product, and layer → those of its own.

    Raises:
        CompressionError: If what a layer takes is not known.
    """
    found: dict[nn.Module, int] = defaultdict(int)

    def count(module: nn.Module, given: tuple[object, ...], out: object) -> None:
        tensors = [value for value in given if isinstance(value, Tensor)]
        found[module] += 2 * of_module(module, tensors, out if isinstance(out, Tensor) else None)

    holders = [module for module in model.modules() if any(p.ndim > 1 for p in module.parameters(recurse=False))]
    handles = [module.register_forward_hook(count) for module in holders]
    modes = {module: module.training for module in model.modules()}
    device, dtype = placement(model)
    try:
        with torch.no_grad():
            model.eval()(inputs.to(device=device, dtype=dtype if inputs.is_floating_point() else None))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return sum(found.values()), {name: _of_weight(model, name, weights, found) for name in weights}


def _of_weight(model: nn.Module, name: str, weights: Mapping[str, Tensor], found: Mapping[nn.Module, int]) -> int:
    place = locate(model, name)
    alone = all(p is place.parameter or p.ndim < 2 for p in place.owner.parameters())
    if place.owner not in found or not alone:
        raise CompressionError(
            f"how many operations {name} takes is not known: it is not the only weight of a module that is called; "
            f"keep=[{name!r}] leaves it alone; the layers are {listing(weights)}"
        )
    return found[place.owner]


def _budget(prices: Mapping[str, int], needed: int) -> Budget:
    # Smaller numbers are the same prices: with one type of weights, a weight costs 1.
    common = max(1, reduce(math.gcd, prices.values()))
    return Budget(prices={name: price // common for name, price in prices.items()}, total=-(-needed // common))


def _stored(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
