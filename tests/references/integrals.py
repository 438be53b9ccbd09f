"""Divergences as their definitions: integrals of two densities over the line, or over space around a symmetry axis.

On the line with mpmath. Over space with Gauss-Legendre panels in two cylinder coordinates, the place along the axis and
the distance from it, both through logarithmic scales: 13 digits or so, in any dimension that is not too large.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np

mp: Any = mpmath.mp  # mpmath has no types
Real = Any  # int, float or mpmath.mpf
Density = Callable[[Any], Any]

DIVERGENCES: dict[str, Callable[..., Any]] = {
    "kl": lambda p, q: p * mp.log(p / q),
    "total_variation": lambda p, q: abs(p - q) / 2,
    "chi_squared": lambda p, q: (p - q) ** 2 / q,
    "squared_hellinger": lambda p, q: (mp.sqrt(p) - mp.sqrt(q)) ** 2 / 2,
    "jensen_shannon": lambda p, q: (p * mp.log(2 * p / (p + q)) + q * mp.log(2 * q / (p + q))) / 2,
}
"""Integrands: functions of the two densities at one point."""


def on_the_line(
    integrand: Callable[[Any, Any], Any], p: Density, q: Density, breaks: Sequence[float], df: float = 1.0
) -> float:
    """Integral over the line in 25 digits, in panels between the breaks; x = sinh(y) reaches far into tails."""
    with mp.workdps(25):
        inner = [mp.asinh(point) for point in sorted(breaks)]
        tails = [reach / min(1, mp.mpf(df)) for reach in (5, 20, 60)]
        points = [*(inner[0] - tail for tail in reversed(tails)), *inner, *(inner[-1] + tail for tail in tails)]

        def term(y: Any) -> Any:
            x = mp.sinh(y)
            return integrand(p(x), q(x)) * mp.cosh(y)

        return float(mp.quad(term, points))


def renyi_on_the_line(order: float, p: Density, q: Density, breaks: Sequence[float], df: float = 1.0) -> float:
    """1/(order - 1) log of the integral of p^order q^(1 - order)."""
    integral = on_the_line(lambda a, b: mp.exp(order * mp.log(a) + (1 - order) * mp.log(b)), p, q, breaks, df)
    return float(mp.log(integral)) / (order - 1)


def gaussian(mean: float, variance: float) -> Density:
    """Density of N(mean, variance) on the line."""
    return lambda x: mp.exp(-((x - mean) ** 2) / (2 * mp.mpf(variance))) / mp.sqrt(2 * mp.pi * variance)


def student_t(centre: float, scale: float, df: float) -> Density:
    """Density of t_df(centre, scale) on the line, scale in squared units."""
    n = mp.mpf(df)
    constant = mp.gamma((n + 1) / 2) / mp.gamma(n / 2) / mp.sqrt(mp.pi * n * scale)
    return lambda x: constant * (1 + (x - centre) ** 2 / (n * scale)) ** (-(n + 1) / 2)


def shifted_student_t(name: str, delta: float, dim: int, df: float) -> float:
    """One of ``SPACE`` for t_df(0, I) and t_df(shift, I) in dim >= 2 dimensions, |shift| = delta, df >= 1."""
    y, y_weights = _panels([*range(-40, 41), np.arcsinh(delta / 2), np.arcsinh(delta)])
    w, w_weights = _panels(range(-40, 41))
    x, rho = np.sinh(y)[:, None], np.exp(w)[None, :]
    log_measure = np.log(y_weights * np.cosh(y))[:, None] + np.log(w_weights) + (dim - 1) * w
    log_p = log_measure - (df + dim) / 2 * np.log1p((x**2 + rho**2) / df)
    log_q = log_measure - (df + dim) / 2 * np.log1p(((x - delta) ** 2 + rho**2) / df)
    log_total = np.logaddexp.reduce(log_p, axis=None)
    return float(SPACE[name](log_p - log_total, log_q - log_total).sum())


def _jensen_shannon(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    return (np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)) / 2


SPACE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "total_variation": lambda p, q: np.abs(np.exp(p) - np.exp(q)) / 2,
    "squared_hellinger": lambda p, q: (np.exp(p / 2) - np.exp(q / 2)) ** 2 / 2,
    "chi_squared": lambda p, q: np.exp(2 * p - q) - np.exp(p),
    "jensen_shannon": _jensen_shannon,
}
"""Integrands: functions of the logarithms of the two densities, times the volume element."""


def _panels(points: Iterable[float]) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(14)
    ends = sorted({float(point) for point in points})
    halves = [((high + low) / 2, (high - low) / 2) for low, high in pairwise(ends)]
    return (
        np.concatenate([middle + half * nodes for middle, half in halves]),
        np.concatenate([half * weights for _, half in halves]),
    )


def log_affinity(delta: float, dim: int, df: float, order: float) -> float:
    """Log of the integral of p^order q^(1 - order) for shifted Student-t laws: hypergeometric function, 40 digits."""
    with mp.workdps(40):
        a, order = mp.mpf(df + dim) / 2, mp.mpf(order)
        value = mp.hyp3f2(
            mp.mpf(df) / 2, order * a, (1 - order) * a, a / 2, (a + 1) / 2, -(mp.mpf(delta) ** 2) / df / 4
        )
        return float(mp.log(value))
