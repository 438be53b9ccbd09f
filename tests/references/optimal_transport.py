"""2-Wasserstein distances by routes of their own: matrix roots in 50 digits, quantiles on the line."""

import math
from collections.abc import Callable, Sequence

import mpmath
import numpy as np

Matrix = Sequence[Sequence[float]]
Quantile = Callable[[np.ndarray], np.ndarray]


def squared_bures(p: Matrix, q: Matrix) -> float:
    """tr(P + Q - 2 (P^(1/2) Q P^(1/2))^(1/2)) as the textbook writes it; the digits pay for the cancellation."""
    with mpmath.workdps(50):
        first, second = mpmath.matrix(p), mpmath.matrix(q)
        root = _root(first)
        mixed = root * second * root
        inner = _root((mixed + mixed.T) / 2)
        return float(sum(first[i, i] + second[i, i] - 2 * inner[i, i] for i in range(len(p))))


def _root(matrix):
    values, vectors = mpmath.eigsy(matrix)
    return vectors * mpmath.diag([mpmath.sqrt(value) for value in values]) * vectors.T


def on_the_line(lower: Sequence[Quantile], upper: Sequence[Quantile]) -> float:
    """W2 on the line: the L2 distance of two quantile functions, integrated over the logarithm of the level.

    ``lower`` are the quantile functions of probabilities to the left, ``upper`` those of probabilities to the right.
    """
    nodes, weights = np.polynomial.legendre.leggauss(20)
    total = 0.0
    for end in np.arange(-60, 0, 1.0):
        level = np.exp(end + (nodes + 1) / 2) / 2  # from e^-60 to one half
        for first, second in (lower, upper):
            total += float((weights / 2 * level * (first(level) - second(level)) ** 2).sum())
    return math.sqrt(total)
