"""Many measures at once: the same answers as two or three columns at a time give."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shrinkscope.analysis import orders
from shrinkscope.analysis.claims import paired_tau
from shrinkscope.analysis.concordance import concordance
from shrinkscope.analysis.orders import Orders
from shrinkscope.errors import DataError

values = st.one_of(st.integers(0, 3), st.none())
row = st.tuples(st.integers(0, 4), st.integers(0, 2), values, st.integers(0, 5), st.integers(0, 5))


def assert_alike(found, expected):
    for field in expected.__struct_fields__:
        got, right = getattr(found, field), getattr(expected, field)
        # Quotients of the same integers; only the sums that a quantile interpolates between may be added in two orders.
        assert got == (pytest.approx(right, rel=1e-13, abs=1e-15) if isinstance(right, float) else right), field


@given(rows=st.lists(row, min_size=2, max_size=24), clustered=st.booleans(), nested=st.booleans())
def test_all_at_once_is_one_by_one(rows, clustered, nested):
    trial, level, x, y, z = zip(*rows, strict=True)
    columns = {"x": x, "y": y, "z": z}
    labels = {
        "clusters": trial if clustered else None,
        "strata": list(zip(trial, level, strict=True)) if nested else level,
    }
    found = Orders(columns, resamples=100, **labels)
    for one, other in itertools.permutations(columns, 2):
        assert_alike(found.concordance(one, other), concordance(columns[one], columns[other], resamples=100, **labels))
    assert_alike(found.paired("y", "x", "z"), paired_tau(y, x, z, resamples=100, **labels))
    assert_alike(found.paired("y", "z", "x"), paired_tau(y, z, x, resamples=100, **labels))


def trials(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=6 * count).round(1)
    return x, (x + random.normal(size=6 * count)).round(1), np.repeat(np.arange(count), 6)


def test_a_cluster_that_is_drawn_twice_counts_twice_where_pairs_are_within_clusters():
    """scipy's tau of no single column says this: copies of a trial are trials of their own, not cases of one."""
    x, y, labels = trials(5, seed=1)
    drawn, random = [], np.random.default_rng(2)
    for _ in range(1500):
        score = in_x = in_y = 0
        for chosen in random.integers(0, 5, 5):
            one, other = x[labels == chosen], y[labels == chosen]
            for i, j in itertools.combinations(range(6), 2):
                a, b = np.sign(one[i] - one[j]), np.sign(other[i] - other[j])
                score, in_x, in_y = score + a * b, in_x + abs(a), in_y + abs(b)
        drawn.append(score / math.sqrt(in_x * in_y))
    found = concordance(x, y, clusters=labels, strata=labels, resamples=4000)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # As in test_claims: five errors of both simulations for a normal shape, and a step between the 126 resamples that
    # five trials have; fails once in 1e5.
    step = np.diff(np.unique(drawn)).max()
    tolerance = 5 * np.std(drawn) * math.sqrt(0.025 * 0.975 * (1 / 1500 + 1 / 4000)) / 0.058
    assert found.lower == pytest.approx(low, abs=max(tolerance, step))
    assert found.upper == pytest.approx(high, abs=max(tolerance, step))
    # Counting copies of a trial as cases that are compared weighs it by the square, and spreads the resamples more.
    assert found.standard_error == pytest.approx(np.std(drawn), rel=5 / math.sqrt(2 * 1500))


@pytest.mark.parametrize(("count", "few"), [(2, True), (3, True), (4, False)])
def test_few_trials_have_no_interval_but_a_range(count, few):
    """Three trials: one alone is drawn with probability 1/27, more than the 2.5 % below a 95 % interval."""
    x, y, labels = trials(count, seed=3)
    for found in (
        concordance(x, y, clusters=labels, strata=labels),
        Orders({"x": x, "y": y}, clusters=labels, strata=labels).concordance("x", "y"),
    ):
        assert (found.lower is None) == few
        separate = [stats.kendalltau(x[labels == k], y[labels == k]).statistic for k in range(count)]
        if few:
            assert found.reason == f"no interval: {count} clusters are too few for one of 95 %"
            assert (found.least, found.most) == pytest.approx((min(separate), max(separate)), rel=1e-13)
        else:
            assert (found.least, found.most, found.reason) == (None, None, None)
    # At 90 % a tail of 5 % is wider than 1/27.
    assert (concordance(x, y, clusters=labels, strata=labels, confidence=0.9).lower is None) == (count == 2)


def test_few_trials_that_all_agree_have_no_interval_either():
    x, _, labels = trials(3, seed=4)
    found = concordance(x, 2 * x, clusters=labels, strata=labels)
    assert (found.tau, found.lower, found.interval) == (1.0, None, None)
    assert (found.least, found.most) == (1.0, 1.0)


def test_few_trials_have_a_range_of_differences():
    x, y, labels = trials(3, seed=5)
    z = np.random.default_rng(6).normal(size=len(x))
    found = paired_tau(x, z, y, clusters=labels, strata=labels)
    separate = [
        stats.kendalltau(x[labels == k], y[labels == k]).statistic
        - stats.kendalltau(z[labels == k], y[labels == k]).statistic
        for k in range(3)
    ]
    assert (found.lower, found.reason) == (None, "no interval: 3 clusters are too few for one of 95 %")
    assert (found.least, found.most) == pytest.approx((min(separate), max(separate)), rel=1e-12)


def test_tables_that_are_too_long_are_refused(monkeypatch):
    monkeypatch.setattr(orders, "_PAIRS", 5)
    Orders({"x": range(3)})
    with pytest.raises(DataError, match="6 pairs are compared, more than 5; give two columns to concordance"):
        Orders({"x": range(4)})
    with pytest.raises(DataError, match="x has 4 cases and y 3"):
        Orders({"x": range(4), "y": range(3)})
