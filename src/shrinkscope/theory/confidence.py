"""Upper confidence bounds for a probability and for the mean of numbers in [0, 1], valid for every sample size."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shrinkscope.errors import TheoryError

_SHARE = 0.75  # of the wealth, the most that one bet may lose
_HALVINGS = 44  # of [0, 1]: the bound is known to 6e-14, and rounded up
_CHUNK_ENTRIES = 2**21  # of values worked on at a time: 16 MiB in float64
_GOLDEN = (math.sqrt(5) - 1) / 2


def binomial_upper(successes: ArrayLike, trials: int, confidence: float) -> NDArray[np.float64]:
    """The exact upper confidence bound of Clopper and Pearson for a probability.

    It is the largest probability under which so few successes still have a chance of 1 − confidence, so that it lies
    below the true probability with a chance of at most 1 − confidence, whatever that probability is.

    Args:
        successes: Numbers of successes k, integers from 0 to ``trials``, of any shape.
        trials: Number of independent trials n, at least 1.
        confidence: Probability that the bound holds, in (0, 1).

    Returns:
        Bounds in (0, 1], in the shape of ``successes``; 1 where all trials succeeded.

    Raises:
        TheoryError: If the counts or the confidence are impossible.

    Source: Clopper & Pearson (1934), Biometrika 26, 404–413, in its form with the beta distribution.
    """
    count = _counts(successes, trials, confidence)
    with np.errstate(invalid="ignore"):
        from scipy.special import betaincinv  # only here, so that a comparison starts without it

        inner = betaincinv(count + 1.0, np.maximum(trials - count, 1.0), confidence)
    return np.where(count == trials, 1.0, inner)


def binomial_interval(successes: ArrayLike, trials: int, confidence: float) -> tuple[NDArray, NDArray]:
    """The exact two-sided confidence interval of Clopper and Pearson for a probability.

    Args:
        successes: As for ``binomial_upper``.
        trials: As for ``binomial_upper``.
        confidence: Probability that the interval holds, in (0, 1); each end fails with at most half of the rest.

    Returns:
        Lower and upper ends.

    Raises:
        TheoryError: As for ``binomial_upper``.

    Source: Clopper & Pearson (1934).
    """
    count = _counts(successes, trials, confidence)
    each = 1 - (1 - confidence) / 2
    # Failures are successes of the other side.
    return 1 - binomial_upper(trials - count, trials, each), binomial_upper(count, trials, each)


def betting_upper(values: ArrayLike, confidence: float) -> NDArray[np.float64]:
    """An upper confidence bound for the mean of independent numbers in [0, 1], by betting against larger means.

    For each candidate mean m a gambler starts with wealth 1 and bets on the numbers being smaller: value x multiplies
    the wealth by 1 + λ(m − x), with a stake λ chosen from the numbers before it. If the mean is m, the wealth is a
    non-negative martingale, so that it ever reaches 1/(1 − confidence) with a chance of at most 1 − confidence (Ville).
    The candidates with which it does are rejected. Since each factor grows with m, they are all those above one point,
    and that point is the bound.

    Args:
        values: Independent and identically distributed numbers in [0, 1] along the last dimension, each sample with
            at least one. They are taken in a fixed order scattered over the sample, so that a file which happens to be
            sorted by class does not mislead the stakes.
        confidence: Probability that the bound holds, in (0, 1).

    Returns:
        Bounds in [0, 1], one a sample, never below the sample's mean; 1 where the sample is too small to say anything.

    Raises:
        TheoryError: If a value is not in [0, 1], there are none, or the confidence is impossible.

    Source: Waudby-Smith & Ramdas (2023), "Estimating means of bounded random variables by betting", JRSS B 86(1),
        the hedged capital process with predictable plug-in stakes for a fixed sample size, here its one side with
        log(1/α) in place of log(2/α) and stakes of at most ¾/(1 − m).
    """
    samples = _samples(values, confidence)
    flat = samples.reshape(-1, samples.shape[-1])[:, _scattered(samples.shape[-1])]
    rows = max(1, _CHUNK_ENTRIES // flat.shape[1])
    bounds = [_betting_bounds(flat[start : start + rows], 1 - confidence) for start in range(0, len(flat), rows)]
    return np.maximum(np.concatenate(bounds), flat.mean(axis=1)).reshape(samples.shape[:-1])


def bernstein_upper(values: ArrayLike, confidence: float) -> NDArray[np.float64]:
    """An upper confidence bound for the mean of independent numbers in [0, 1], from mean and variance alone.

    Args:
        values: As for ``betting_upper``, at least two a sample; their order does not matter.
        confidence: Probability that the bound holds, in (0, 1).

    Returns:
        mean + √(2V log(2/α)/n) + 7 log(2/α)/(3(n − 1)) with V the sample variance and α = 1 − confidence, at most 1.

    Raises:
        TheoryError: As for ``betting_upper``, or if there is one value only.

    Source: Maurer & Pontil (2009), "Empirical Bernstein bounds and sample variance penalization", Theorem 4.
    """
    samples = _samples(values, confidence)
    size = samples.shape[-1]
    if size < 2:
        raise TheoryError("an empirical Bernstein bound needs the variance of at least 2 values; found 1")
    tail = math.log(2 / (1 - confidence))
    spread = np.sqrt(2 * samples.var(axis=-1, ddof=1) * tail / size)
    return np.minimum(samples.mean(axis=-1) + spread + 7 * tail / (3 * (size - 1)), 1.0)


def largest_log_wealth(samples: NDArray[np.float64], mean: ArrayLike, failure: float) -> NDArray[np.float64]:
    """The largest logarithm of the wealth on the way through each sample, betting against one candidate mean.

    Args:
        samples: Numbers in [0, 1], shape (samples, n), in the order in which they are bet on.
        mean: The candidate m of each sample, in [0, 1], one or as many as samples.
        failure: α = 1 − confidence, which sets the stakes.

    Returns:
        Shape (samples,); the candidate is rejected where it is at least log(1/α). It grows with the candidate.

    Source: as ``betting_upper``.
    """
    return _largest_log_wealth(samples, _stakes(samples, failure), np.asarray(mean, dtype=np.float64))


def _betting_bounds(samples: NDArray[np.float64], failure: float) -> NDArray[np.float64]:
    stakes, needed = _stakes(samples, failure), -math.log(failure)
    # The upper end is always rejected (or 1): rounding the search can only make the bound larger.
    lower, upper = np.zeros(len(samples)), np.ones(len(samples))
    for _ in range(_HALVINGS):
        middle = (lower + upper) / 2
        rejected = _largest_log_wealth(samples, stakes, middle) >= needed
        lower, upper = np.where(rejected, lower, middle), np.where(rejected, middle, upper)
    return upper


def _stakes(samples: NDArray[np.float64], failure: float) -> NDArray[np.float64]:
    """√(2 log(1/α) / (n V)) with V the variance of the numbers before, drawn towards that of a fair coin."""
    size = samples.shape[1]
    seen = np.arange(1, size + 1)
    means = (0.5 + samples.cumsum(axis=1)) / (seen + 1)
    variances = (0.25 + np.square(samples - means).cumsum(axis=1)) / (seen + 1)
    before = np.concatenate([np.full((len(samples), 1), 0.25), variances[:, :-1]], axis=1)
    return np.sqrt(-2 * math.log(failure) / (size * before))


def _largest_log_wealth(
    samples: NDArray[np.float64], stakes: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    column = mean.reshape(-1, 1)
    with np.errstate(divide="ignore"):
        stake = np.minimum(stakes, _SHARE / (1 - column))
    return np.log1p(stake * (column - samples)).cumsum(axis=1).max(axis=1)


def _scattered(size: int) -> NDArray[np.int64]:
    """A fixed order of positions in which neighbours come from far apart: steps of a golden section."""
    step = max(1, round(size * _GOLDEN))
    while math.gcd(step, size) > 1:
        step += 1
    return np.arange(size, dtype=np.int64) * step % size


def _counts(successes: ArrayLike, trials: int, confidence: float) -> NDArray[np.float64]:
    check_confidence(confidence)
    count = np.asarray(successes, dtype=np.float64)
    if trials < 1 or (count < 0).any() or (count > trials).any() or (count != np.floor(count)).any():
        found = count.item() if count.ndim == 0 else f"{count.min():g} to {count.max():g}"
        raise TheoryError(
            f"{found} successes in {trials} trials; expected whole numbers from 0 to the trials, at least 1"
        )
    return count


def _samples(values: ArrayLike, confidence: float) -> NDArray[np.float64]:
    check_confidence(confidence)
    samples = np.asarray(values, dtype=np.float64)
    if samples.ndim == 0 or samples.shape[-1] == 0:
        raise TheoryError(f"values have shape {samples.shape}; expected at least one value along the last dimension")
    if not ((samples >= 0) & (samples <= 1)).all():
        raise TheoryError(
            f"values from {samples.min():g} to {samples.max():g}; expected numbers in [0, 1]: divide by the largest "
            "possible value, and clip what has none"
        )
    return samples


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no probability, or one of the two that cannot be aimed at.

    Args:
        confidence: Probability that a bound is to hold.

    Raises:
        TheoryError: If it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise TheoryError(f"confidence = {confidence:g}; expected a number between 0 and 1, for example 0.95")
