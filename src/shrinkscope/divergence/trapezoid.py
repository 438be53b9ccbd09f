"""The trapezoidal rule for analytic integrands that fall off at both ends, with the error that halving shows."""

from collections.abc import Callable

import numpy as np

from shrinkscope.errors import DivergenceError

MAX_NODES = 4_000_000
"""Largest number of nodes: 32 MiB a table, about a second."""

_BISECTIONS = 60
EPSILON = 1.1e-16
"""Relative error of one rounding."""
_ROUNDINGS = 32
"""Roundings in one term besides those of the exponent."""


def grid(low: float, high: float, step: float) -> np.ndarray:
    """Nodes from low to high, a step apart.

    Raises:
        DivergenceError: If there would be more than ``MAX_NODES``.
    """
    if not (high - low) / step <= MAX_NODES:
        raise DivergenceError(
            f"an integral would need {(high - low) / step:.2g} nodes, at most {MAX_NODES} are used; expected a less "
            f"extreme dimension, degrees of freedom or order"
        )
    return low + step * np.arange(int((high - low) / step) + 2)


def trapezoid(terms: np.ndarray, step: float, exponents: np.ndarray | float = 0.0) -> tuple[float, float]:
    """Sum of the terms along a line of nodes, times the step, and its error.

    The rule's own error falls exponentially in 1/step, so it is squared, relative to the integral of the absolute
    values, when the step is halved: it is the square of what the halving changed. Rounding comes on top.

    Args:
        terms: Integrand at evenly spaced nodes, negligible at both ends (or halved at an end about which it is even).
        step: Distance of the nodes.
        exponents: Sizes of the numbers whose exponential the terms contain: what one rounding of them does.

    Returns:
        The integral and an estimate of its error, in the same unit.

    Source: Trefethen & Weideman (2014), The exponentially convergent trapezoidal rule, Theorem 5.1.
    """
    absolute = np.abs(terms)
    size = step * float(absolute.sum())
    if size == 0:
        return 0.0, 0.0
    fine, coarse = step * float(terms.sum()), 2 * step * float(terms[::2].sum())
    rounding = EPSILON * step * float((absolute * (_ROUNDINGS + exponents)).sum())
    return fine, (fine - coarse) ** 2 / size + rounding


def ratio(
    terms: np.ndarray, weights: np.ndarray, step: float, shared: np.ndarray, own: np.ndarray | float = 0.0
) -> tuple[float, float]:
    """Quotient of the integrals of terms and weights over the same nodes, and its error.

    A rounding of an exponent that both share changes the quotient only as far as the term differs from the quotient
    times the weight. That is what makes narrow weights, whose exponents are large, no less accurate than wide ones.

    Args:
        terms: Weights times a function, at evenly spaced nodes; of complex ones the imaginary parts are summed.
        weights: Weights at the same nodes.
        step: Distance of the nodes.
        shared: Sizes of the exponents that both contain.
        own: Sizes of the exponents in the function.

    Returns:
        The quotient and an estimate of its error.
    """
    (upper, upper_error), (lower, lower_error) = (
        trapezoid(np.imag(values) if np.iscomplexobj(values) else values, step) for values in (terms, weights)
    )
    quotient = upper / lower
    spread = np.abs(terms - quotient * weights) * shared + np.abs(terms) * own
    rounding = EPSILON * step * float(spread.sum())
    return quotient, (upper_error + rounding) / abs(lower) + abs(quotient) * lower_error / abs(lower)


def falling_point(function: Callable[[float], float], start: float, direction: float, level: float) -> float:
    """Where a function that falls from start in one direction goes below a level, to a fraction of that distance.

    Args:
        function: Falling from start onwards, eventually below the level.
        start: First point that is looked at.
        direction: +1 or −1, times the first distance that is tried.
        level: The level.

    Returns:
        A point at which the function is below the level.
    """
    inside, outside = start, start + direction
    while function(outside) >= level:
        inside, outside = outside, outside + 2 * (outside - start)
    for _ in range(_BISECTIONS):
        if abs(outside - inside) <= 0.01 * abs(outside - start):
            break
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if function(middle) < level else (middle, outside)
    return outside
