"""The distances between two predictive distributions and the binomial tail, by their definitions in many digits."""

from collections.abc import Sequence
from typing import Any

import mpmath


def softmax(logits: Sequence[float]) -> list[Any]:
    weights = [mpmath.exp(mpmath.mpf(logit)) for logit in logits]
    return [weight / mpmath.fsum(weights) for weight in weights]


def total_variation(dense: Sequence[float], compressed: Sequence[float]) -> Any:
    with mpmath.workdps(40):
        return mpmath.fsum(abs(p - q) for p, q in zip(softmax(dense), softmax(compressed), strict=True)) / 2


def kl(dense: Sequence[float], compressed: Sequence[float]) -> Any:
    # 2000 digits: a probability of exp(-1000) is a number here like any other.
    with mpmath.workdps(2000):
        return mpmath.fsum(p * mpmath.log(p / q) for p, q in zip(softmax(dense), softmax(compressed), strict=True))


def at_most(successes: int, trials: int, probability: Any) -> Any:
    """P(K ≤ successes) for K ~ Binomial(trials, probability), term by term."""
    return mpmath.fsum(
        mpmath.binomial(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(successes + 1)
    )
