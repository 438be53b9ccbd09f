"""A Beta variable y through its logit t, counted from the logit of its mean: analytic, and stable when it is narrow.

In t the density is proportional to exp(total·Λ(t)) with Λ(t) = mean·t − log(1 + mean·(eᵗ − 1)) ≤ 0, where
mean = s₁/(s₁ + s₂) and total = s₁ + s₂: no difference of large numbers near t = 0, however large s₁ and s₂ are.
"""

import math

import numpy as np
from scipy.special import polygamma

Array = np.ndarray


def log_base(t: Array, mean: float) -> Array:
    """Logarithm of 1 + mean·(eᵗ − 1): about 0 without cancellation, far from it without overflow."""
    near = np.log1p(mean * np.expm1(np.clip(t, -1.0, 1.0)))
    return np.where(np.abs(t) < 1, near, np.logaddexp(math.log1p(-mean), t + math.log(mean)))


def log_weight(t: Array, total: float, mean: float) -> Array:
    """Logarithm of the density of t, zero at t = 0."""
    return total * (mean * t - log_base(t, mean))


def log_variable(t: Array, mean: float) -> Array:
    """Logarithm of y."""
    return math.log(mean) + t - log_base(t, mean)


def log_product(t: Array, mean: float) -> Array:
    """Logarithm of y(1 − y)."""
    return math.log(mean) + math.log1p(-mean) + t - 2 * log_base(t, mean)


def logit(y: float) -> float:
    """Logit of y, log(y/(1 − y))."""
    return math.log(y) - math.log1p(-y)


def deviation(total: float, mean: float) -> float:
    """Standard deviation of t."""
    return math.sqrt(float(polygamma(1, total * mean) + polygamma(1, total * (1 - mean))))
