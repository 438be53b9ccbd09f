"""The divergence of shifted Student-t distributions by four derivations in multiple precision: slow, and independent.

All compute KL(t_df(0, I) || t_df(shift, I)) in ``dim`` coordinates for |shift| = delta. With a = (df + dim)/2, b = df/2
and q = delta**2/df:

* ``by_double_integral``: the definition, E log of the density ratio, over radius and angle;
* ``by_mixture_series``: |X + shift|**2 is a Poisson mixture of chi-squared laws given the scale, a negative binomial
  mixture once the scale is integrated out; each component has a closed form in digamma and a power series;
* ``by_power_series``: Parseval. The characteristic function of t and the Fourier transform of log(df + |x|**2) are
  Bessel functions K; the plane wave is expanded in powers of delta, each moment of K K is a ratio of gamma functions;
* ``by_line_integral``: log through its Laplace integral, then the scale integrated out in closed form.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
from mpmath.calculus.quadrature import GaussLegendre

mp: Any = mpmath.mp  # mpmath has no types
Real = Any  # int, float or mpmath.mpf
DIGITS = 40


def by_double_integral(dim: Real, df: Real, delta: Real) -> Real:
    """The definition: a E log(1 + (delta^2 - 2 c delta R)/(df + R^2)), to about 15 digits.

    The logit y of R^2/(df + R^2) ~ Beta(dim/2, df/2) is integrated by Gauss-Legendre panels, graded towards R = delta,
    where the logarithm is nearly singular; the cosine c = tanh(eta) by the trapezoidal rule, c paired with -c.
    """
    with mp.workdps(DIGITS):
        dim, df, delta = mp.mpf(dim), mp.mpf(df), mp.mpf(delta)
        squares = _squared_cosines(dim)
        log_norm = mp.loggamma(dim / 2) + mp.loggamma(df / 2) - mp.loggamma((dim + df) / 2)

        def integrand(y: Real) -> Real:
            radius = mp.sqrt(df) * mp.exp(y / 2)
            power = df + radius**2
            near, cross = delta**2 / power, (2 * delta * radius / power) ** 2
            mean = mp.fsum(weight * mp.log1p(2 * near + near**2 - square * cross) for square, weight in squares)
            return mp.exp(y * dim / 2 - (dim + df) / 2 * mp.log1p(mp.exp(y)) - log_norm) * mean / 2

        return +((dim + df) / 2 * _integral(integrand, _panels(dim, df, delta)))


def _integral(integrand: Callable[[Real], Real], points: list[Real]) -> Real:
    """Gauss-Legendre rule of 24 nodes on each panel; mp.quad would evaluate its coarser rules first."""
    rule = GaussLegendre(mp).calc_nodes(4, mp.prec)
    panels = [((left + right) / 2, (right - left) / 2) for left, right in pairwise(points)]
    return mp.fsum(half * weight * integrand(middle + half * node) for middle, half in panels for node, weight in rule)


def _squared_cosines(dim: Real) -> list[tuple[Real, Real]]:
    """Nodes c^2 and normalised weights of the cosine's law, proportional to (1 - c^2)^((dim - 3)/2) dc."""
    if dim == 1:
        return [(mp.one, mp.one)]
    step = min(mp.mpf("0.22"), mp.mpf("0.45") / mp.sqrt(dim - 1))
    last = int(mp.acosh(mp.exp(42 / (dim - 1))) / step) + 1
    etas = [step * index for index in range(last + 1)]
    weights = [mp.exp((1 - dim) * mp.log(mp.cosh(eta))) * (1 if eta else mp.mpf("0.5")) for eta in etas]
    total = mp.fsum(weights)
    return [(mp.tanh(eta) ** 2, weight / total) for eta, weight in zip(etas, weights, strict=True)]


def _panels(dim: Real, df: Real, delta: Real) -> list[Real]:
    mode, deviation = mp.log(dim / df), mp.sqrt(mp.psi(1, dim / 2) + mp.psi(1, df / 2))

    def drop(y: Real) -> Real:
        fall = (dim + df) / 2 * (mp.log1p(mp.exp(y)) - mp.log1p(mp.exp(mode)))
        return fall - dim / 2 * (y - mode)

    ends = [mode + side * _crossing(lambda s, side=side: drop(mode + side * s), deviation) for side in (-1, 1)]
    width = min(mp.mpf(2), 2 * deviation)
    count = int((ends[1] - ends[0]) / width) + 1
    points = [ends[0] + (ends[1] - ends[0]) * index / count for index in range(count + 1)]
    closest = 2 * mp.log(delta / mp.sqrt(df))  # R = delta, at distance 2 sqrt(df)/delta from two branch points
    if delta**2 > df / 4 and ends[0] < closest < ends[1]:
        levels = int(mp.log(delta / mp.sqrt(df), 2)) + 2
        grades = [closest + side * mp.mpf(2) ** -level for level in range(levels) for side in (-1, 1)]
        points += [closest, *(grade for grade in grades if ends[0] < grade < ends[1])]
    return sorted(points)


def _crossing(drop: Callable[[Real], Real], start: Real) -> Real:
    """Distance at which the density has fallen by exp(-44), within a factor 1.2."""
    distance = start
    while drop(distance) < 44:
        distance *= mp.mpf("1.2")
    return distance


def by_mixture_series(dim: Real, df: Real, delta: Real) -> Real:
    """Sum over K ~ NegativeBinomial(b, 1/(1 + q)) of psi(a + 2K) - psi(a) + E log(1 - tau B_K), to about 25 digits."""
    with mp.workdps(2 * DIGITS):  # what remains of the probability is compared with q, however small that is
        dim, df, delta = mp.mpf(dim), mp.mpf(df), mp.mpf(delta)
        a, b, q = (df + dim) / 2, df / 2, delta**2 / df
        tau = q / (1 + q)
        probability, remaining, digamma, total, k = (1 - tau) ** b, mp.one, mp.zero, mp.zero, 0
        while remaining > mp.mpf(10) ** -30 * min(mp.one, q):
            total += probability * (digamma + _mean_log(tau, b + k, a + 2 * k))
            remaining -= probability
            digamma += 1 / (a + 2 * k) + 1 / (a + 2 * k + 1)
            probability *= tau * (b + k) / (k + 1)
            k += 1
        return +(a * total)


def _mean_log(tau: Real, alpha: Real, total: Real) -> Real:
    """E log(1 - tau B) for B ~ Beta(alpha, total - alpha): minus the sum of tau^n E[B^n]/n."""
    moment, result, n = tau * alpha / total, mp.zero, 1
    while moment > n * mp.eps * result or n < 3:
        result += moment / n
        moment *= tau * (alpha + n) / (total + n)
        n += 1
    return -result


def mixture_series_terms(df: float, delta: float) -> float:
    """About how many components the mixture series needs: mean, twelve deviations and the geometric tail."""
    q = delta**2 / df
    return df / 2 * q + 12 * (df / 2 * q * (1 + q)) ** 0.5 + 70 * (1 + q)


def by_power_series(dim: Real, df: Real, delta: Real, *, derivative: bool = False) -> Real:
    """a sum_n (-1)^(n+1) q^n/n (b)_n (a)_n/(a)_2n for q < 4, to about 25 digits; or its derivative in delta.

    The terms fall from the first on if q <= 1; beyond, they first grow when b is large: the loss of digits is checked.
    """
    with mp.workdps(DIGITS):
        dim, df, delta = mp.mpf(dim), mp.mpf(df), mp.mpf(delta)
        a, b, q = (df + dim) / 2, df / 2, delta**2 / df
        if q >= 4:
            raise ValueError("the series converges for delta**2 < 4 df only")
        term, total, largest, n = q * b / (a + 1), mp.zero, mp.zero, 1
        while abs(term) > mp.mpf(10) ** -35 * abs(total):
            total += 2 * term / delta if derivative else term / n
            largest = max(largest, abs(term))
            term *= -q * (b + n) * (a + n) / ((a + 2 * n) * (a + 2 * n + 1))
            n += 1
        if largest > 10**10 * abs(total) * (delta if derivative else 1):
            raise ArithmeticError("the series has lost more than ten digits to cancellation")
        return +(a * total)


def by_line_integral(dim: Real, df: Real, delta: Real) -> Real:
    """a int_0^1 (1 - y)^(a-1)/y [1 - (1 + q y (1 - y))^-b] dy with y = exp(x), by panels, to about 20 digits."""
    with mp.workdps(DIGITS):
        dim, df, delta = mp.mpf(dim), mp.mpf(df), mp.mpf(delta)
        a, b, q = (df + dim) / 2, df / 2, delta**2 / df

        def integrand(x: Real) -> Real:
            y, rest = mp.exp(x), -mp.expm1(x)
            return -mp.expm1(-b * mp.log1p(q * y * rest)) * mp.exp((a - 1) * mp.log(rest))

        lowest, highest = -55 - mp.log(max(a, b * q, q)), min(mp.zero, mp.log(60 / a))
        count = int(highest - lowest)
        points = [*(lowest + (highest - lowest) * index / count for index in range(count)), highest]
        last = mp.quad(integrand, points[-2:], method="tanh-sinh")  # y = 1 is singular for a < 2
        return +(a * (_integral(integrand, points[:-1]) + last))


def slope_by_differences(dim: Real, df: Real, delta: Real) -> Real:
    """Derivative of the line integral in delta by central differences of order 4, to about 15 digits.

    The step is 1e-4 of delta: the truncation is about its fourth power, the digits of the integral allow another 1e-16.
    """
    with mp.workdps(DIGITS):
        step = mp.mpf(delta) * mp.mpf("1e-4")
        values = [by_line_integral(dim, df, delta + index * step) for index in (-2, -1, 1, 2)]
        return +((values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step))


def cauchy(delta: Real) -> Real:
    """The closed form for dim = df = 1, log(1 + delta^2/4)."""
    with mp.workdps(DIGITS):
        return mp.log1p(mp.mpf(delta) ** 2 / 4)


def relative_error(found: Real, expected: Real) -> float:
    """|found/expected - 1|, both taken as they are (a string as its digits), without rounding to float64."""
    with mp.workdps(DIGITS):
        return float(abs(mp.mpf(found) / mp.mpf(expected) - 1))
