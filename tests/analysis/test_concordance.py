"""tau-b against scipy, on the data and on every resample; coverage of the interval; what cannot be measured.

Statistical tests use fixed generators; each states its tolerance in standard errors and the failure rate with
another seed.
"""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shrinkscope.analysis import pairs
from shrinkscope.analysis.concordance import concordance, taus
from shrinkscope.analysis.pairs import cases_of
from shrinkscope.errors import DataError

few_values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30)


def related(count: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=count)
    return x, x + noise * random.normal(size=count)


def tau_of(x, y) -> float:
    return float(np.asarray(stats.kendalltau(x, y))[0])


@given(points=few_values)
def test_tau_agrees_with_scipy_also_with_ties(points):
    x, y = (list(column) for column in zip(*points, strict=True))
    found = concordance(x, y, resamples=0)
    expected = tau_of(x, y)
    if math.isnan(expected):
        assert not found.measurable
    else:
        # One product, one root, one quotient of integers below 2**53.
        assert found.tau == pytest.approx(expected, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("rows", [7, 256])
@pytest.mark.parametrize("clustered", [False, True])
def test_every_resample_has_the_tau_of_scipy(rows, clustered, monkeypatch):
    monkeypatch.setattr(pairs, "ROWS", rows)
    x, y = related(25, seed=0)
    x = x.round(1)  # with ties
    labels = np.arange(25) // 4
    cases = cases_of(x, y, clusters=labels if clustered else None)
    weights = torch.cat(list(cases.weights(200, torch.Generator().manual_seed(1))))
    for found, counts in zip(taus(cases, weights).tolist(), weights.to(torch.int64).numpy(), strict=True):
        drawn = np.repeat(np.arange(25), counts)
        # As above.
        assert found == pytest.approx(tau_of(x[drawn], y[drawn]), rel=1e-13)
        if clustered:
            assert all(len(set(counts[labels == label])) == 1 for label in labels)


def test_the_interval_is_that_of_scipys_bootstrap():
    x, y = related(60, seed=2)
    reference = stats.bootstrap(
        (x, y),
        tau_of,
        paired=True,
        vectorized=False,
        n_resamples=3000,
        method="percentile",
        rng=np.random.default_rng(3),
    )
    found = concordance(x, y, resamples=20_000)
    # Monte Carlo error of a percentile end, in standard errors of tau, near-normal: sqrt(p q / R) / density. Both
    # errors together, 1.1 for the skew, 5 of them: 6e-7 an end.
    density = stats.norm.pdf(stats.norm.ppf(0.975))
    error = math.sqrt(0.025 * 0.975 * (1 / 3000 + 1 / 20_000)) / density * reference.standard_error
    assert found.lower == pytest.approx(reference.confidence_interval.low, abs=float(5 * 1.1 * error))
    assert found.upper == pytest.approx(reference.confidence_interval.high, abs=float(5 * 1.1 * error))
    # Relative error of a standard deviation of 3000 near-normal values is 1/sqrt(6000), the other's is smaller.
    assert found.standard_error == pytest.approx(float(reference.standard_error), rel=5 * 1.1 / math.sqrt(6000))
    assert found.interval == "bootstrap"


def covered(populations: int, cases: int, clusters: bool) -> float:
    """Fraction of intervals that hold the true tau of a bivariate normal, 2 asin(rho) / pi."""
    random, generator = np.random.default_rng(4), torch.Generator().manual_seed(5)
    correlation, inside = 0.6, 0
    truth = 2 * math.asin(correlation) / math.pi
    for _ in range(populations):
        x = random.normal(size=cases)
        y = correlation * x + math.sqrt(1 - correlation**2) * random.normal(size=cases)
        # Three copies of every case know no more than one. Copies are tied, which tau-b leaves out of both factors.
        copies = 3 if clusters else 1
        x, y = np.repeat(x, copies), np.repeat(y, copies)
        labels = np.repeat(np.arange(cases), copies) if clusters else None
        found = concordance(x, y, clusters=labels, resamples=400, generator=generator)
        assert found.lower is not None
        assert found.upper is not None
        inside += found.lower <= truth <= found.upper
    return inside / populations


@pytest.mark.parametrize("clusters", [False, True])
def test_the_interval_covers_the_true_tau_as_often_as_it_says(clusters):
    populations = 300
    # The percentile bootstrap of tau from 60 cases may cover a little less than it says: 2 points are allowed for that,
    # and 4 standard errors of a binomial fraction for the simulation (6e-5 with another seed). Resampling copies as if
    # they were cases would give intervals sqrt(3) too narrow, which cover 2 Phi(1.96 / sqrt(3)) - 1 = 74 %.
    tolerance = 0.02 + 4 * math.sqrt(0.05 * 0.95 / populations)
    assert covered(populations, 60, clusters) == pytest.approx(0.95, abs=tolerance)


def test_clusters_widen_the_interval_as_copies_demand():
    x, y = related(50, seed=6)
    single = concordance(x, y)
    labels = np.repeat(np.arange(50), 3)
    clustered = concordance(np.repeat(x, 3), np.repeat(y, 3), clusters=labels)
    ignored = concordance(np.repeat(x, 3), np.repeat(y, 3))
    # The same draws of 50 units, so the same numbers; copies only add ties, which tau-b leaves out of both factors.
    assert clustered.tau == pytest.approx(single.tau, rel=1e-13)
    assert (clustered.lower, clustered.upper) == pytest.approx((single.lower, single.upper), rel=1e-13)
    assert (clustered.cases, clustered.clusters, single.clusters) == (150, 50, None)
    # Copies taken for cases shrink the standard error by about sqrt(3); 1.4 is far outside the error of 2000 resamples.
    assert single.standard_error is not None
    assert ignored.standard_error is not None
    assert single.standard_error > 1.4 * ignored.standard_error


def test_strata_compare_within_only():
    x, y = related(24, seed=7)
    labels = np.arange(24) % 3
    found = concordance(x, y, strata=labels, resamples=0)
    # Without ties tau is score over number of pairs, so strata of equal size average.
    expected = np.mean([tau_of(x[labels == label], y[labels == label]) for label in range(3)])
    assert found.tau == pytest.approx(expected, rel=1e-13)
    assert found.pairs == 3 * 8 * 7 // 2
    # A shift of a whole stratum changes nothing.
    assert concordance(x + 100 * labels, y - 100 * labels, strata=labels) == concordance(x, y, strata=labels)


@given(points=few_values)
def test_discordant_is_counted_over_pairs_that_differ_in_both(points):
    x, y = (list(column) for column in zip(*points, strict=True))
    found = concordance(x, y, resamples=0)
    signs = [np.sign((a - c) * (b - d)) for k, (a, b) in enumerate(points) for c, d in points[:k]]
    against, both = sum(s < 0 for s in signs), sum(s != 0 for s in signs)
    if found.measurable:
        assert found.pairs == both
        assert found.discordant == (against / both if both else None)


@given(points=few_values)
def test_reversing_one_measure_reverses_tau_and_increasing_maps_change_nothing(points):
    x, y = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    found, reverse = concordance(x, y, resamples=0), concordance(x, -y, resamples=0)
    assert reverse.tau == (None if found.tau is None else -found.tau)
    assert concordance(np.exp(x), y**3, resamples=0) == found


def test_a_call_can_be_repeated_and_a_generator_changes_the_resamples():
    x, y = related(40, seed=8)
    assert concordance(x, y) == concordance(torch.from_numpy(x), y.tolist())
    assert concordance(x, y).lower != concordance(x, y, generator=torch.Generator().manual_seed(1)).lower


@pytest.mark.parametrize(("cases", "independent"), [(2, 1), (4, 2), (11, 5), (40, 20)])
@pytest.mark.parametrize("sign", [1, -1])
def test_when_all_pairs_agree_the_interval_is_that_of_independent_pairs(cases, independent, sign):
    found = concordance(range(cases), [sign * value for value in range(cases)])
    # The exact interval of as many successes as trials, from scipy; a fraction f of agreement is tau = 2 f - 1.
    least = 2 * stats.binomtest(independent, independent).proportion_ci(0.95, "exact").low - 1
    ends = (least, 1.0) if sign > 0 else (-1.0, -least)
    assert (found.lower, found.upper) == pytest.approx(ends, rel=1e-9)
    assert (found.tau, found.interval, found.standard_error) == (float(sign), "exact", None)
    assert found.discordant == (0.0 if sign > 0 else 1.0)


def test_resamples_without_an_order_are_counted_and_left_out():
    # 4 cases: 4 of 256 resamples repeat one case; 5 standard errors of a binomial count.
    found = concordance([1, 2, 3, 4], [1, 3, 2, 4], resamples=4000)
    assert found.undefined == pytest.approx(4000 / 64, abs=5 * math.sqrt(4000 / 64))
    assert found.interval == "bootstrap"


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 1, 1], [1, 2, 3], "no two of the 3 cases that are compared differ in x"),
        ([1, 2, 3], [0, 0, 0], "no two of the 3 cases that are compared differ in y"),
        ([1], [2], "no two of the 1 cases that are compared differ in x"),
        ([], [], "no two of the 0 cases that are compared differ in x"),
        ([1, None, 3], [1, 2, 3], r"x is missing or not finite in 1 of 3 cases \(first in case 1\)"),
        ([1, 2, 3], [1, 2, math.inf], r"y is missing or not finite in 1 of 3 cases \(first in case 2\)"),
        ([1, 2, 3], [math.nan, 2, math.nan], r"y is missing or not finite in 2 of 3 cases \(first in case 0\)"),
    ],
)
def test_what_has_no_order_is_not_measurable(x, y, reason):
    found = concordance(x, y)
    assert not found.measurable
    assert found.reason is not None
    assert re.match(reason, found.reason)
    missing = (found.tau, found.lower, found.upper, found.standard_error, found.discordant, found.interval)
    assert missing == (None,) * 6
    assert (found.pairs, found.cases) == (0, len(x))


def test_strata_of_one_case_each_have_nothing_to_compare():
    assert not concordance([1, 2, 3], [1, 2, 3], strata=[0, 1, 2]).measurable


def test_too_few_cases_or_clusters_for_an_interval_say_so():
    x, y = related(9, seed=9)
    alone = concordance(x, y, clusters=[0] * 9)
    assert (alone.lower, alone.reason) == (None, "no interval: 1 cluster is too few for one of 95 %")
    assert alone.measurable
    few = concordance([1, 2, 3], [1, 3, 2])
    assert (few.lower, few.reason) == (None, "no interval: 3 cases are too few for one of 95 %")
    # A ninth of the resamples of 4 cases of which 3 are alike repeat the three, and no more than 5 % may be undefined.
    tied = concordance([1, 1, 1, 2], [1, 1, 3, 2])
    assert tied.lower is None
    assert tied.reason is not None
    assert tied.reason.startswith("no interval: undefined on ")


def test_impossible_requests_are_refused():
    with pytest.raises(DataError, match="x has 2 cases and y 3"):
        concordance([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="10 resamples are too few"):
        concordance([1, 2], [1, 2], resamples=10)
