"""Divergences of two uniform distributions on boxes: elementary, and in logarithms, so that volumes cannot overflow.

KL, χ² and Rényi divergences of order 1 and above are infinite unless the first box lies in the second, which for boxes
of one size means: unless they are equal. That is why the paper's pairing of "uniform" with the squared L2 norm cannot
be a KL divergence; the 2-Wasserstein distance is the statement that holds, and its square is AP2.
"""

import math
from typing import NamedTuple

import torch

from shrinkscope.divergence.distributions import UniformBox
from shrinkscope.divergence.divergences import (
    checked_order,
    chi_squared,
    chi_squared_from_renyi,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
    wasserstein2,
)
from shrinkscope.quantity import Quantity


class _Overlap(NamedTuple):
    """Logarithms of the shares of the two boxes' volumes that are common; zero where a box lies in the other."""

    of_p: float
    of_q: float


def _overlap(p: UniformBox, q: UniformBox) -> _Overlap:
    """What sticks out of the other box is measured on both sides of each coordinate, without touching the corners.

    That keeps the digits of small shifts of large boxes, and the exact zero of a box inside the other.
    """
    shift, hp, hq = (p.centre - q.centre).abs(), p.half_widths(), q.half_widths()
    return _Overlap(*(float(_log_inside(shift, mine, other).sum()) for mine, other in ((hp, hq), (hq, hp))))


def _log_inside(shift: torch.Tensor, mine: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The logarithm of the share of [−mine, mine] that lies within [shift − other, shift + other]."""
    gap = mine - other
    outside = (gap + shift).clamp(min=0) + (gap - shift).clamp(min=0)
    return (-(outside / (2 * mine)).clamp(max=1)).log1p()


def _log_volumes(p: UniformBox, q: UniformBox) -> float:
    """The logarithm of q's volume over p's."""
    return float((q.half_widths() / p.half_widths()).log().sum())


@kl.register(UniformBox, UniformBox)
def _kl(p: UniformBox, q: UniformBox) -> Quantity:
    overlap = _overlap(p, q)
    return Quantity(value=abs(overlap.of_q) if overlap.of_p == 0 else math.inf, unit="nats")


@chi_squared.register(UniformBox, UniformBox)
def _chi_squared(p: UniformBox, q: UniformBox) -> Quantity:
    return chi_squared_from_renyi(_kl(p, q).value)


@renyi.register(UniformBox, UniformBox)
def _renyi(p: UniformBox, q: UniformBox, order: float) -> Quantity:
    """Order 1 and above: KL. Below: the overlap's volume times the two densities to the powers α and 1 − α."""
    order = checked_order(order)
    if order >= 1:
        return _kl(p, q)
    overlap = _overlap(p, q)
    return Quantity(value=abs(order * overlap.of_p / (1 - order) + overlap.of_q), unit="nats")


@total_variation.register(UniformBox, UniformBox)
def _total_variation(p: UniformBox, q: UniformBox) -> Quantity:
    """One minus the overlap's volume over the larger volume."""
    return Quantity(value=abs(math.expm1(min(_overlap(p, q)))), unit="probability")


@jensen_shannon.register(UniformBox, UniformBox)
def _jensen_shannon(p: UniformBox, q: UniformBox) -> Quantity:
    """All of log 2 for what is outside the overlap; inside, both densities are constant."""
    overlap, log_ratio = _overlap(p, q), _log_volumes(p, q)
    parts = ((overlap.of_p, -log_ratio), (overlap.of_q, log_ratio))
    value = sum(
        -math.expm1(share) * math.log(2) + math.exp(share) * (math.log(2) - _softplus(relative))
        for share, relative in parts
    )
    return Quantity(value=min(max(value / 2, 0.0), math.log(2)), unit="nats")


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@wasserstein2.register(UniformBox, UniformBox)
def _wasserstein2(p: UniformBox, q: UniformBox) -> Quantity:
    """The affine map of one box onto the other: the root of ‖Δ‖² + Σ (half-width difference)²/3.

    Source: coordinates are independent and each map is increasing; Villani (2009), Optimal Transport, §5.
    """
    shift = float((p.centre - q.centre).square().sum())
    spread = float((p.half_widths() - q.half_widths()).square().sum())
    return Quantity(value=math.sqrt(shift + spread / 3), unit="weight")
