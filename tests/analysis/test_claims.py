import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shrinkscope.analysis.claims import holm, paired_tau, sign_test
from shrinkscope.errors import DataError


def columns(seed: int, cases: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    outcome = rng.normal(size=cases)
    return outcome + rng.normal(size=cases), outcome + 2 * rng.normal(size=cases), outcome


@given(better=st.integers(0, 60), worse=st.integers(0, 60))
def test_the_sign_test_is_that_of_scipy(better: int, worse: int):
    expected = stats.binomtest(better, better + worse, 0.5).pvalue if better + worse else 1.0
    # Both sum at most 61 exact binomial terms in float64.
    assert sign_test(better, worse).p == pytest.approx(expected, rel=1e-12)


def test_the_sign_test_is_that_of_all_outcomes_counted():
    for better, worse in ((5, 1), (3, 3), (0, 7)):
        units = better + worse
        heads = [sum(flips) for flips in itertools.product((0, 1), repeat=units)]
        as_uneven = sum(abs(2 * h - units) >= abs(better - worse) for h in heads)
        assert sign_test(better, worse).p == as_uneven / 2**units


def test_a_negative_count_is_refused():
    with pytest.raises(DataError, match="expected none below 0"):
        sign_test(3, -1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_controls_like_its_definition(p_values: list[float], alpha: float):
    """Reject p_(1), p_(2), … while p_(k) ≤ α/(m−k+1); stop at the first that is not."""
    order, rejected = sorted(range(len(p_values)), key=lambda i: p_values[i]), set()
    for rank, index in enumerate(order):
        if (len(p_values) - rank) * p_values[index] > alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected


def test_an_impossible_probability_is_refused():
    with pytest.raises(DataError, match=r"expected each in \[0, 1\]"):
        holm([0.2, 1.5])


def test_the_difference_is_that_of_scipy():
    first, second, outcome = columns(1)
    found = paired_tau(first, second, outcome, resamples=0)
    taus = [stats.kendalltau(a, b).statistic for a, b in ((first, outcome), (second, outcome), (first, second))]
    # Ratios of exact integers.
    assert found.first == pytest.approx(taus[0], rel=1e-14)
    assert found.second == pytest.approx(taus[1], rel=1e-14)
    assert found.shared == pytest.approx(taus[2], rel=1e-14)
    assert found.difference == pytest.approx(taus[0] - taus[1], rel=1e-14)
    assert (found.lower, found.upper, found.units) == (None, None, 12)


def test_strata_vote_on_their_own_pairs():
    first, second, outcome = columns(2, 24)
    strata = np.repeat(np.arange(6), 4)
    leads = []
    for stratum in range(6):
        rows = strata == stratum
        leads.append(
            np.sign(
                stats.kendalltau(first[rows], outcome[rows]).statistic
                - stats.kendalltau(second[rows], outcome[rows]).statistic
            ).round()
        )
    signs = paired_tau(first, second, outcome, strata=strata, resamples=0).signs
    assert (signs.better, signs.worse, signs.tied) == (leads.count(1), leads.count(-1), leads.count(0))


def test_the_interval_is_that_of_a_slow_bootstrap():
    first, second, outcome = columns(3)
    found = paired_tau(first, second, outcome, resamples=4000)
    rng, drawn = np.random.default_rng(4), []
    for _ in range(1500):
        rows = rng.integers(0, 12, 12)
        one, two = (stats.kendalltau(x[rows], outcome[rows]).statistic for x in (first, second))
        drawn.append(one - two)
    # Another generator: a 2.5 % quantile of n draws errs by about √(0.025·0.975/n)/density; the density there is near
    # 0.058/σ for a normal shape, so 0.07 σ for 1500 draws. Five of these, with 4000 draws besides: fails once in 1e5.
    tolerance = 5 * np.std(drawn) * np.sqrt(0.025 * 0.975 * (1 / 1500 + 1 / 4000)) / 0.058
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.lower == pytest.approx(low, abs=tolerance)
    assert found.upper == pytest.approx(high, abs=tolerance)


def test_equal_measures_differ_by_nothing():
    first, _, outcome = columns(5)
    found = paired_tau(first, 3 * first + 1, outcome)
    assert (found.difference, found.lower, found.upper, found.shared, found.signs.p) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_what_cannot_be_measured_says_why():
    first, second, outcome = columns(6)
    constant = paired_tau(first, np.ones(12), outcome)
    assert not constant.measurable
    assert "constant" in (constant.reason or "")
    gone = paired_tau([None, *first[1:]], second, outcome)
    assert gone.difference is None
    assert "x is missing or not finite in 1 of 12" in (gone.reason or "")
    rare = paired_tau(first[:2], second[:2], outcome[:2])
    assert rare.measurable
    # Each resample of two cases holds one of them twice with probability ½; seed 0 draws more than half such.
    assert "so there is no interval" in (rare.reason or "")
