"""The distances of predictions as something that can be differentiated."""

import math

import msgspec
from torch import Tensor

from shrinkscope.performance import Reading


class Slope(msgspec.Struct, frozen=True):
    """What a distance changes by along one layer's way from dense to empty, to first order.

    Attributes:
        change: For every number of weights removed.
        price: What a weight costs.
    """

    change: Tensor
    price: int

    def __getitem__(self, count: int) -> float:
        """The change at the number of weights nearest to what goes in the unit of the price."""
        return float(self.change[min(round(count / self.price), len(self.change) - 1)])


def total_variation_to(dense: Tensor, outputs: Tensor, reading: Reading) -> Tensor:
    """Mean TV(p, q) over the rows, or over the positions of sequences, differentiable in the outputs.

    Args:
        dense: The dense network's outputs.
        outputs: The other's.
        reading: What they predict.
    """
    if reading.kind_of(dense) == "regression":
        # Two Gaussians of one scale: erf(‖δ‖/(2√2 s)).
        scale = 1.0 if reading.scale is None else reading.scale
        return ((outputs - dense).flatten(1).norm(dim=1) / (2 * math.sqrt(2) * scale)).erf().mean()
    return (outputs.softmax(dim=-1) - dense.softmax(dim=-1)).abs().sum(dim=-1).mean() / 2


def divergence_to(dense: Tensor, outputs: Tensor, reading: Reading) -> Tensor:
    """Mean KL(p‖q) in nats over the rows, or over the positions of sequences, differentiable in the outputs.

    Args:
        dense: The dense network's outputs.
        outputs: The other's.
        reading: What they predict.
    """
    if reading.kind_of(dense) == "regression":
        scale = 1.0 if reading.scale is None else reading.scale
        return (outputs - dense).square().flatten(1).sum(dim=1).mean() / (2 * scale**2)
    p, q = dense.log_softmax(dim=-1), outputs.log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1).mean()
