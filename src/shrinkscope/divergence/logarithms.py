"""Differences of logarithms that keep all their digits where the naive formula cancels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_SERIES_UP_TO = 0.5


def log1p_remainder(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Remainder x − log(1 + x), which is x²/2 near zero, with a relative error of a few units in the last place.

    Args:
        x: At least −1, float64, not differentiated. Close to −1 the result is only as good as 1 + x is.

    Returns:
        Non-negative values: zero at x = 0, infinity at x = −1.

    Source: log(1 + x) = 2 artanh t with t = x/(2 + x), so x − log(1 + x) = xt − 2t³(1/3 + t²/5 + t⁴/7 + …), where near
    zero the first term dominates. Derived here; tests/divergence/test_logarithms.py compares with mpmath.
    """
    reach = float(x.abs().max()) if x.numel() else 0.0
    if reach <= _SERIES_UP_TO:
        return _series(x, reach)
    return torch.where(x.abs() <= _SERIES_UP_TO, _series(x.clamp(-0.5, 0.5), _SERIES_UP_TO), x - x.log1p())


def _series(x: Tensor, reach: float) -> Tensor:
    """The series for |x| ≤ reach ≤ ½, with as many terms as that reach needs."""
    t = x / (2 + x)
    square = t * t
    largest = max(reach / (2 - reach), 1e-8)
    terms = math.ceil(math.log(1e-17) / (2 * math.log(largest)))
    tail = torch.full_like(t, 1 / (2 * terms + 1))
    for power in range(2 * terms - 1, 1, -2):
        tail = tail.mul_(square).add_(1 / power)
    return x * t - 2 * t * square * tail
