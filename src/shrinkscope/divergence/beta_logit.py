"""A Beta variable y through its logit t, counted from the logit of its mean: analytic, and stable when it is narrow.

The density of t is proportional to exp(first·t − (first + second)·log(1 + mean·(eᵗ − 1))), and the same with the two
parameters exchanged and t reversed. From the side of the smaller parameter, it is accurate to that one times ε·|t|.
"""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class BetaLogit:
    """The logit of y ~ Beta(first, second), minus that of the mean of y.

    Attributes:
        first: Positive.
        second: Positive. Both are kept, because 1 − mean would lose the digits of the smaller one.
    """

    first: float
    second: float

    @property
    def centre(self) -> float:
        """Logit of the mean."""
        return math.log(self.first) - math.log(self.second)

    @property
    def deviation(self) -> float:
        """Standard deviation of t."""
        from scipy.special import polygamma  # only here, so that a comparison starts without it

        return math.sqrt(float(polygamma(1, self.first) + polygamma(1, self.second)))

    @property
    def _small(self) -> float:
        return min(self.first, self.second)

    @property
    def _total(self) -> float:
        return self.first + self.second

    def log_weight(self, t: Array) -> Array:
        """Logarithm of the density of t, zero at t = 0."""
        towards_small = self._from_small(t)
        return self._small * towards_small - self._total * self._log_base(towards_small)

    def exponents(self, t: Array) -> Array:
        """Size of the numbers whose difference `log_weight` is: what a rounding of it is relative to."""
        return self._small * np.abs(t)

    def log_variable(self, t: Array) -> Array:
        """Logarithm of y."""
        rising = t if self.first <= self.second else 0.0
        return math.log(self.first / self._total) + rising - self._log_base(self._from_small(t))

    def log_product(self, t: Array) -> Array:
        """Logarithm of y(1 − y)."""
        towards_small = self._from_small(t)
        means = math.log(self.first / self._total) + math.log(self.second / self._total)
        return means + towards_small - 2 * self._log_base(towards_small)

    def _from_small(self, t: Array) -> Array:
        """The logit of y or of 1 − y, whichever has the smaller mean."""
        return t if self.first <= self.second else -t

    def _log_base(self, t: Array) -> Array:
        """log(1 + mean·(eᵗ − 1)) for the smaller mean: about 0 without cancellation, far from it without overflow."""
        mean = self._small / self._total
        near = np.log1p(mean * np.expm1(np.clip(t, -1.0, 1.0)))
        return np.where(np.abs(t) < 1, near, np.logaddexp(math.log1p(-mean), t + math.log(mean)))
