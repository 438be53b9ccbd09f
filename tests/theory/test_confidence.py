"""Confidence bounds: exactness against the binomial law, coverage by simulation, properties, and what is refused."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr
from scipy.stats import binomtest

from references import predictive as reference
from shrinkscope.errors import TheoryError
from shrinkscope.theory.confidence import (
    bernstein_upper,
    betting_upper,
    binomial_interval,
    binomial_upper,
    largest_log_wealth,
)

UNIT = st.floats(0, 1)
SAMPLES = st.lists(UNIT, min_size=1, max_size=40)
CONFIDENCE = st.sampled_from([0.5, 0.8, 0.95, 0.999])


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 1000), (3, 7), (12, 1000), (999, 1000), (40, 10_000)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999999])
def test_the_binomial_bound_leaves_the_tail_that_it_promises(successes, trials, confidence):
    bound = float(binomial_upper(successes, trials, confidence))
    with mpmath.workdps(40):
        tail = reference.at_most(successes, trials, mpmath.mpf(bound))
    # An error of 1e-12 of the bound moves the logarithm of a tail by at most n times that: 1e-9 leaves room for it.
    assert float(tail) == pytest.approx(1 - confidence, rel=1e-8)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), CONFIDENCE)
def test_the_binomial_interval_is_that_of_scipy(case, confidence):
    successes, trials = case
    lower, upper = binomial_interval(successes, trials, confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    # scipy finds its ends by root finding, with a tolerance of about 2e-12.
    assert (float(lower), float(upper)) == (
        pytest.approx(expected.low, rel=1e-9, abs=1e-11),
        pytest.approx(expected.high, rel=1e-9, abs=1e-11),
    )


@pytest.mark.parametrize("trials", [1, 5, 100, 1000])
def test_the_binomial_bound_holds_for_every_probability(trials):
    """Exact: the bound fails for the counts whose bound lies below p; their chance is at most 1 − confidence."""
    counts = np.arange(trials + 1)
    for confidence in (0.5, 0.95, 0.99):
        bounds = binomial_upper(counts, trials, confidence)
        for probability in np.linspace(0.0005, 0.9995, 400):
            failing = int((bounds < probability).sum())  # they are the smallest counts, as the bound grows
            chance = float(bdtr(failing - 1, trials, probability)) if failing else 0.0
            assert chance <= (1 - confidence) * (1 + 1e-9)  # rounding of the tail


def test_the_binomial_bound_grows_with_the_count_and_with_the_confidence():
    bounds = np.array([binomial_upper(np.arange(51), 50, c) for c in (0.5, 0.9, 0.99)])
    assert (np.diff(bounds, axis=1) > 0).all()
    assert (np.diff(bounds[:, :-1], axis=0) > 0).all()
    assert bounds[:, -1].tolist() == [1.0, 1.0, 1.0]
    assert float(binomial_upper(0, 50, 0.95)) == pytest.approx(1 - 0.05 ** (1 / 50), rel=1e-12)  # the rule of three


DISTRIBUTIONS = {
    "rare": lambda generator, shape: (generator.random(shape) < 0.02).astype(float),
    "coin": lambda generator, shape: (generator.random(shape) < 0.5).astype(float),
    "nearly always": lambda generator, shape: (generator.random(shape) < 0.97).astype(float),
    "mostly small": lambda generator, shape: generator.beta(0.1, 2.0, shape),
    "uniform": lambda generator, shape: generator.random(shape),
    "heavy": lambda generator, shape: np.where(generator.random(shape) < 0.01, 1.0, 0.003),
    "mostly large": lambda generator, shape: generator.beta(5.0, 0.5, shape),
}
MEANS = {
    "rare": 0.02,
    "coin": 0.5,
    "nearly always": 0.97,
    "mostly small": 0.1 / 2.1,
    "uniform": 0.5,
    "heavy": 0.01 + 0.99 * 0.003,
    "mostly large": 5 / 5.5,
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("size", [10, 100, 400])
def test_bounds_of_a_mean_hold_as_often_as_they_promise(name, size):
    repeats, failure = 3000, 0.1
    samples = DISTRIBUTIONS[name](np.random.default_rng([size, 7]), (repeats, size))
    # Four standard errors of a rate of 0.1: a valid bound exceeds them in 3 of 100,000 runs; the generator is fixed.
    most = failure + 4 * math.sqrt(failure * (1 - failure) / repeats)
    for upper in (betting_upper, bernstein_upper):
        bounds = upper(samples, 1 - failure)
        assert (bounds < MEANS[name]).mean() <= most
        assert (bounds >= samples.mean(axis=1) - 1e-12).all()  # summed in another order


def test_the_betting_bound_is_not_so_careful_that_it_never_fails():
    """Of 90 % bounds of a fair coin's mean, some must fail: else the coverage above would be no test."""
    samples = (np.random.default_rng(3).random((3000, 400)) < 0.5).astype(float)
    assert (betting_upper(samples, 0.9) < 0.5).mean() > 0.03


def test_the_betting_bound_is_tighter_than_bernsteins():
    generator = np.random.default_rng(5)
    for name, draw in DISTRIBUTIONS.items():
        for size in (100, 1000):
            samples = draw(generator, (50, size))
            assert betting_upper(samples, 0.95).mean() < bernstein_upper(samples, 0.95).mean(), (name, size)


def test_without_any_event_the_betting_bound_comes_near_the_exact_one():
    # Stakes of at most 3/4 of the wealth give (1 + 3/4 m)^n instead of (1 - m)^-n: 4/3 of the rule of three.
    for size in (200, 1000, 10_000):
        assert float(betting_upper(np.zeros(size), 0.95)) < 1.5 * float(binomial_upper(0, size, 0.95))


@given(SAMPLES, CONFIDENCE)
def test_the_betting_bound_is_where_the_wealth_reaches_its_mark(values, confidence):
    """The definition, candidate by candidate and bet by bet, in pure Python."""
    bound = float(betting_upper(values, confidence))
    assert sum(values) / len(values) <= bound + 1e-15 <= 1 + 1e-15
    order = _scattered(len(values))
    for candidate in (bound + 1e-9, bound - 1e-9):
        if sum(values) / len(values) + 1e-9 < candidate < 1:
            rejected = _largest_wealth([values[i] for i in order], candidate, 1 - confidence) >= 1 / (1 - confidence)
            assert rejected == (candidate > bound)


def _scattered(size: int) -> list[int]:
    step = max(1, round(size * (math.sqrt(5) - 1) / 2))
    while math.gcd(step, size) > 1:
        step += 1
    order = [i * step % size for i in range(size)]
    assert sorted(order) == list(range(size))
    return order


def _largest_wealth(values: list[float], mean: float, failure: float) -> float:
    wealth = largest = 0.0
    wealth, largest, total, squares = 1.0, 0.0, 0.5, 0.25
    for seen, value in enumerate(values):
        variance = squares / (seen + 1)
        stake = min(math.sqrt(2 * math.log(1 / failure) / (len(values) * variance)), 0.75 / (1 - mean))
        wealth *= 1 + stake * (mean - value)
        largest = max(largest, wealth)
        total += value
        squares += (value - total / (seen + 2)) ** 2
    return largest


@given(SAMPLES, st.lists(UNIT, min_size=2, max_size=10))
def test_the_wealth_grows_with_the_candidate(values, candidates):
    """What makes the rejected candidates an interval, and the search for its end right."""
    candidates = np.sort(candidates)
    samples = np.tile(np.array(values), (len(candidates), 1))
    wealth = largest_log_wealth(samples, candidates, 0.05)
    assert (np.diff(wealth) >= -1e-9).all()  # rounding of 40 logarithms


def test_extremes():
    assert float(betting_upper([0.0], 0.95)) == 1.0  # one bet cannot win 20 times the stake
    assert float(betting_upper([1.0], 0.95)) == 1.0
    assert float(betting_upper(np.ones(1000), 0.95)) == 1.0
    assert float(bernstein_upper([0.0, 1.0], 0.95)) == 1.0
    assert betting_upper(np.zeros((2, 3, 5)), 0.95).shape == (2, 3)
    assert float(bernstein_upper([0.25] * 1001, 0.95)) == pytest.approx(0.25 + 7 * math.log(40) / 3000, rel=1e-12)


def test_a_sample_sorted_by_class_does_no_harm():
    """Bet on in its own order, a sorted sample lets the gambler win on all small numbers before the large ones."""
    generator = np.random.default_rng(0)
    values = np.where(generator.random(2000) < 0.05, 0.8, 0.01)
    shuffled = betting_upper(np.stack([generator.permutation(values) for _ in range(200)]), 0.95)
    for ordered in (np.sort(values), np.sort(values)[::-1]):
        # Among the bounds that chance orders give.
        assert np.quantile(shuffled, 0.1) < float(betting_upper(ordered, 0.95)) < 1.1 * shuffled.max()
    assert largest_log_wealth(np.sort(values)[None], values.mean(), 0.05) > math.log(20)  # what scattering prevents


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_an_impossible_confidence_is_refused(confidence):
    for call in (lambda: binomial_upper(1, 2, confidence), lambda: betting_upper([0.5], confidence)):
        with pytest.raises(TheoryError, match=r"confidence = .*; expected a number between 0 and 1"):
            call()


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0), (1.5, 5), ([1, 7], 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(TheoryError, match=f"successes in {trials} trials; expected whole numbers"):
        binomial_upper(successes, trials, 0.95)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 1.01], r"values from 0.5 to 1.01; expected numbers in \[0, 1\]"),
        ([0.5, math.nan], "values from nan to nan"),
        ([], r"values have shape \(0,\); expected at least one value"),
        (0.5, r"values have shape \(\); expected at least one value"),
    ],
)
def test_what_is_no_sample_of_fractions_is_refused(values, message):
    for upper in (betting_upper, bernstein_upper):
        with pytest.raises(TheoryError, match=message):
            upper(values, 0.95)


def test_one_value_has_no_variance():
    with pytest.raises(TheoryError, match="at least 2 values; found 1"):
        bernstein_upper([0.5], 0.95)
