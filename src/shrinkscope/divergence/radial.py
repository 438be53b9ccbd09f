r"""The part of a Student-t divergence that only the tails and a common scale make: one integral over the radius.

Let r be the distance from the centre in units of p's scale and t = log(r²/d). The logarithm of either density is

.. math:: \tfrac{d}{2} t - \tfrac{\nu + d}{2} \log(1 + w\,(e^t - 1)), \qquad w = \frac{\lambda d}{\nu + \lambda d},

up to a constant, with λ = 1 for p and the scale λ̄ for q (ν = ∞: the second term is λd(eᵗ − 1)/2). Both are analytic for
|Im t| < π, so the trapezoidal rule converges exponentially. The integrand q − p − p·log(q/p) is never negative, hence
small divergences lose no digits, as long as log(q/p) itself does not: see `_log_ratio`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from shrinkscope.divergence.logarithms import log1p_remainder
from shrinkscope.errors import DivergenceError

_EPSILON = 2.2e-16
_NEGLIGIBLE = 45.0
"""Natural logarithm of the factor by which densities have fallen where they are cut off: e^−45 = 3e-20."""
_MAX_NODES = 4_000_000


def radial_kl(dim: int, df_p: float, df_q: float, mean_excess: float) -> tuple[float, float]:
    """KL(t_p(0, λ̄I) ‖ t_q(0, I)) in nats, for Student-t laws in dim dimensions and a scale λ̄, with its error.

    Args:
        dim: Number of dimensions, at least 1.
        df_p: Degrees of freedom of the first law; infinity for a Gaussian.
        df_q: Degrees of freedom of the second law; infinity for a Gaussian, and then df_p must exceed 2.
        mean_excess: λ̄ − 1, greater than −1.

    Returns:
        The divergence and an estimate of its numerical error, in nats: what halving the step changes, and rounding.

    Raises:
        DivergenceError: If the tails are so heavy that the integral would need millions of nodes.

    Source: derived here; tests/divergence/test_radial.py compares with mpmath integrals of the densities.
    """
    if df_p == df_q and mean_excess == 0:
        return 0.0, 0.0
    if math.isinf(df_q) and df_p < 4:
        return _heavy_tails_to_gaussian(dim, df_p, mean_excess)
    step = min(0.125, 0.5 * _width(dim, df_p), 0.5 * _width(dim, df_q))
    low, high = _range(dim, df_p, df_q, mean_excess)
    if (high - low) / step > _MAX_NODES:
        raise DivergenceError(
            f"df {df_p:g} and {df_q:g} in {dim} dimensions: the radial integral would need {(high - low) / step:.2g} "
            f"nodes, at most {_MAX_NODES} are used; expected less extreme degrees of freedom or dimension"
        )
    t = step * torch.arange(math.floor(low / step), math.ceil(high / step) + 1, dtype=torch.float64)
    fine, rounding = _trapezoid(t, dim, df_p, df_q, mean_excess)
    coarse, _ = _trapezoid(t[::2], dim, df_p, df_q, mean_excess)
    # The rule's error is squared, at least, each time the step is halved.
    return fine, (fine - coarse) ** 2 / max(fine, 1e-300) + rounding


def _trapezoid(t: Tensor, dim: int, df_p: float, df_q: float, mean_excess: float) -> tuple[float, float]:
    """Sum of q − p − p·log(q/p), both densities normalised by their own sums, and its rounding error."""
    log_p, log_q = _log_density(t, dim, df_p, 0.0), _log_density(t, dim, df_q, mean_excess)
    log_p = log_p - log_p.logsumexp(0)
    log_q = log_q + (log_p[0] - _log_density(t[:1], dim, df_p, 0.0)[0])
    p = log_p.exp()
    log_ratio, magnitude = _log_ratio(t, dim, df_p, df_q, mean_excess)
    change = torch.where(log_ratio.abs() < 1, p * log_ratio.expm1(), log_q.exp() - p).sum()
    shift = change.log1p() if abs(float(change)) < 0.5 else log_q.logsumexp(0)
    log_ratio, q = log_ratio - shift, (log_q - shift).exp()
    near = log_ratio.abs() < 1
    growth = log_ratio.clamp(-1, 1).expm1()
    terms = torch.where(near, p * log1p_remainder(growth), q - p - p * log_ratio)
    # An error of log(q/p) enters the divergence multiplied by q − p.
    difference = torch.where(near, p * growth, q - p).abs()
    return float(terms.sum()), 4 * _EPSILON * float((difference * magnitude + terms * log_p.abs()).sum())


def _log_density(t: Tensor, dim: int, df: float, mean_excess: float) -> Tensor:
    """Log density of t = log(r²/dim), zero at t = 0."""
    if math.isinf(df):
        return dim / 2 * (t - (1 + mean_excess) * t.expm1())
    scaled = (1 + mean_excess) * dim
    if df < scaled:  # written around the tail, where the two terms do not both grow with dim
        return -df / 2 * t - (df + dim) / 2 * _mixed(-t, df, scaled)
    return dim / 2 * t - (df + dim) / 2 * _mixed(t, scaled, df)


def _mixed(t: Tensor, part: int | float, rest: int | float) -> Tensor:
    """log(1 + w(eᵗ − 1)) for w = part/(part + rest): as it stands, or as a sum of powers where that cancels."""
    whole = part + rest
    change = part / whole * t.expm1()
    powers = torch.logaddexp(torch.full_like(t, math.log(rest / whole)), t + math.log(part / whole))
    return torch.where((change > -0.5) & (t < 700), change.log1p(), powers)


def _log_ratio(t: Tensor, dim: int, df_p: float, df_q: float, mean_excess: float) -> tuple[Tensor, Tensor]:
    """log(q/p), zero at t = 0, and the sum of the sizes of its terms, which times ε is its rounding error.

    Three ways to write it, and at each t the one with the smallest terms: by the difference of the degrees of freedom
    (good where they are close), by second-order remainders (good near the Gaussian limit), and directly (the rest).
    """
    growth = t.expm1().clamp(max=1e300)
    scale = 1 + mean_excess
    wp, wq = dim / (df_p + dim), scale * dim / (df_q + scale * dim)
    first, second = (
        scaled / 2 * growth if math.isinf(df) else (df + dim) / 2 * _mixed(t, scaled, df)
        for df, scaled in ((df_p, dim), (df_q, scale * dim))
    )
    ways = [(first, -second, torch.ones_like(t, dtype=torch.bool))]
    if not math.isinf(df_p) and not math.isinf(df_q):
        spread = dim * ((df_q - df_p) - mean_excess * df_p) / ((df_p + dim) * (df_q + scale * dim))
        # growth/(1 + wq·growth), without cancellation for small t and without overflow for large t
        below = growth / (df_q / (df_q + scale * dim) + wq * t.clamp(max=1).exp())
        change = spread * torch.where(growth > 1, 1 / (wq + 1 / growth.clamp(min=1)), below)
        first, second = (df_p - df_q) / 2 * _mixed(t, dim, df_p), (df_q + dim) / 2 * change.log1p()
        ways.append((first, second, change > -0.5))
    linear = mean_excess if math.isinf(df_q) else mean_excess * df_q / (df_q + scale * dim)
    bend_p, bend_q = _curvature(growth, wp, df_p, dim), _curvature(growth, wq, df_q, dim)
    ways.append((-dim / 2 * linear * growth - bend_p, bend_q, (wp * growth > -0.5) & (wq * growth > -0.5)))
    values = torch.stack([a + b for a, b, _ in ways])
    sizes = torch.stack([torch.where(trusted, a.abs() + b.abs(), math.inf) for a, b, trusted in ways])
    sizes[-1] += bend_p
    best = sizes.argmin(0, keepdim=True)
    return values.gather(0, best)[0], sizes.gather(0, best)[0]


def _curvature(growth: Tensor, weight: float, df: float, dim: int) -> Tensor:
    """(ν + d)/2 · (x − log(1 + x)) for x = w(eᵗ − 1); zero for a Gaussian."""
    return torch.zeros_like(growth) if math.isinf(df) else (df + dim) / 2 * log1p_remainder(weight * growth)


def _width(dim: int, df: float) -> float:
    """Standard deviation of t near its mode."""
    return math.sqrt(2 / dim + 2 / df)


def _range(dim: int, df_p: float, df_q: float, mean_excess: float) -> tuple[float, float]:
    """Where p, q and p·log(q/p) have all fallen by e^−45."""

    def log_q(t: Tensor) -> Tensor:
        return _log_density(t, dim, df_q, mean_excess)

    def log_p(t: Tensor) -> Tensor:
        return _log_density(t, dim, df_p, 0.0) + _log_ratio(t, dim, df_p, df_q, mean_excess)[0].abs().log1p()

    centre = -math.log1p(mean_excess)
    width_p, width_q = _width(dim, df_p), _width(dim, df_q)
    low = min(_edge(log_p, 0.0, -width_p), _edge(log_q, centre, -width_q))
    high = max(_edge(log_p, 0.0, width_p), _edge(log_q, centre, width_q))
    return low, high


def _edge(log_density: Callable[[Tensor], Tensor], mode: float, step: float) -> float:
    """First of mode + step, mode + 2 step, mode + 4 step … at which the density is negligible."""
    top = float(log_density(torch.tensor(mode, dtype=torch.float64)))
    while float(log_density(torch.tensor(mode + step, dtype=torch.float64))) > top - _NEGLIGIBLE:
        step *= 2
    return mode + step


def _heavy_tails_to_gaussian(dim: int, df: float, mean_excess: float) -> tuple[float, float]:
    """The closed form for a Gaussian q; its terms cancel little where 2 < df < 4, because the divergence is large."""
    half, total = torch.tensor([df / 2, (df + dim) / 2], dtype=torch.float64)
    terms = [
        float(total.lgamma() - half.lgamma()),
        -dim / 2 * math.log(df / 2),
        -dim / 2 * math.log1p(mean_excess),
        -float(total * (total.digamma() - half.digamma())),
        dim / 2 * df / (df - 2) * (1 + mean_excess),
    ]
    return math.fsum(terms), 8 * _EPSILON * math.fsum(abs(term) for term in terms)
