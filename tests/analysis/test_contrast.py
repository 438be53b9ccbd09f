"""Discordant pairs and agreement by contrast, against pairs counted one at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from references.pairs import contrast_counts, discordant
from shrinkscope.analysis import pairs
from shrinkscope.analysis.contrast import concordance_by_contrast, discordant_pairs
from shrinkscope.errors import DataError

EDGES = (1.0, 1.5, 2.0, 4.0, math.inf)
table = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 1)), min_size=0, max_size=25)


def columns(rows) -> list[list[int]]:
    return [[row[k] for row in rows] for k in range(3)]


@given(rows=table, size=st.sampled_from([4, 256]))
def test_discordant_pairs_are_those_of_the_definition(rows, size):
    x, y, strata = columns(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "ROWS", size)
        found = discordant_pairs(x, y, range(len(x)), strata=strata)
    expected = discordant(x, y, strata)
    assert sorted((pair.ratio, pair.smaller, pair.larger) for pair in found) == sorted(expected)
    assert [pair.ratio for pair in found] == sorted((pair.ratio for pair in found), reverse=True)
    for pair in found:
        assert (pair.x_smaller, pair.y_smaller) == (x[pair.smaller], y[pair.smaller])
        assert (pair.x_larger, pair.y_larger) == (x[pair.larger], y[pair.larger])
        assert pair.x_smaller < pair.x_larger
        assert pair.y_smaller > pair.y_larger


def test_the_largest_contrasts_come_first_with_their_labels():
    found = discordant_pairs([1.0, 10.0, 3.0], [0.5, 0.1, 0.4], ["lowest 30 %", "highest 30 %", "random 30 %"], limit=2)
    assert [(pair.smaller, pair.larger, pair.ratio) for pair in found] == [
        ("lowest 30 %", "highest 30 %", 10.0),
        ("random 30 %", "highest 30 %", 10.0 / 3.0),
    ]


@given(rows=table, size=st.sampled_from([4, 256]))
def test_every_bin_counts_what_the_definition_counts(rows, size):
    x, y, strata = columns(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "ROWS", size)
        found = concordance_by_contrast(x, y, EDGES, strata=strata, resamples=0)
    for number, record in enumerate(found):
        assert (record.least, record.below) == EDGES[number : number + 2]
        agree, differ, tied = contrast_counts(x, y, strata, record.least, record.below, number == 3)
        assert (record.pairs, record.tied) == (differ, tied)
        assert record.concordant == (agree / differ if differ else None)
        assert record.measurable == bool(differ)


def test_a_finite_last_edge_is_included_and_pairs_outside_are_not_counted():
    found = concordance_by_contrast([1, 2, 8], [1, 2, 3], (2.0, 4.0), resamples=0)
    assert [record.pairs for record in found] == [2]  # 2/1 and 8/2; 8/1 is outside


@pytest.mark.parametrize("clustered", [False, True])
def test_the_interval_is_that_of_resampling_the_rows(clustered):
    random = np.random.default_rng(0)
    x = np.exp(random.normal(size=40))
    y = np.log(x) + random.normal(size=40)
    pair_of = np.arange(40) // 2
    found = concordance_by_contrast(x, y, EDGES, clusters=pair_of if clustered else None, resamples=1000)
    # The same bootstrap done with rows instead of weights, with other draws.
    units = 20 if clustered else 40
    shares: list[list[float]] = [[] for _ in found]
    for _ in range(400):
        unit = random.integers(units, size=units)
        drawn = (2 * unit[:, None] + [0, 1]).ravel() if clustered else unit
        for number, record in enumerate(found):
            rows = x[drawn], y[drawn], [0] * 40
            agree, differ, _ = contrast_counts(*rows, record.least, record.below, number == 3)
            shares[number].append(agree / differ)
    for record, values in zip(found, shares, strict=True):
        assert record.lower is not None
        assert record.upper is not None
        spread = float(np.std(values, ddof=1))
        density = float(stats.norm.pdf(stats.norm.ppf(0.975)))
        # Error of both percentile ends, in standard deviations, near-normal; 1.3 for the skew; 5 of them: 6e-7 an end.
        error = 1.3 * math.sqrt(0.025 * 0.975 * (1 / 400 + 1 / 1000)) / density * spread
        expected = np.quantile(values, [0.025, 0.975])
        np.testing.assert_allclose([record.lower, record.upper], expected, rtol=0, atol=5 * error)
        assert record.standard_error == pytest.approx(spread, rel=5 * 1.3 / math.sqrt(800))
        assert record.interval == "bootstrap"


def test_agreement_rises_with_contrast_where_noise_is_multiplicative():
    random = np.random.default_rng(1)
    x = np.exp(random.normal(size=300))
    found = concordance_by_contrast(x, x * np.exp(random.normal(size=300)), EDGES)
    shares = [record.concordant or 0.0 for record in found]
    assert shares == sorted(shares)
    for record in found:
        middle = math.log(record.least * min(record.below, 20.0)) / 2
        # log y differs by log ratio plus normal noise of variance 2, so pairs at the bin's middle agree with this
        # probability; bins are not points, hence 0.1.
        assert record.concordant == pytest.approx(stats.norm.cdf(middle / math.sqrt(2)), abs=0.1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_unanimous_bin_has_the_interval_of_independent_pairs(sign):
    found = concordance_by_contrast([1, 2, 4, 8, 16, 32], [sign * k for k in range(6)], (1.5, 3.0, math.inf))
    # Ratio 2 joins neighbours, and 0-1, 2-3, 4-5 share no case.
    assert [record.pairs for record in found] == [5, 10]
    least = stats.binomtest(3, 3).proportion_ci(0.95, "exact").low
    ends = (least, 1.0) if sign > 0 else (0.0, 1 - least)
    assert (found[0].lower, found[0].upper) == pytest.approx(ends, rel=1e-9)
    assert {record.interval for record in found} == {"exact"}
    assert {record.concordant for record in found} == {1.0 if sign > 0 else 0.0}


def test_an_empty_bin_is_not_measurable_and_a_rare_one_has_no_interval():
    found = concordance_by_contrast([1, 1.2, 1.3, 100], [1, 2, 1.5, 1.7], (1.0, 2.0, 10.0, math.inf))
    assert [record.measurable for record in found] == [True, False, True]
    assert found[1].reason == "no pair of cases that differ in both measures has such a ratio"
    # Case 3 is in 1 - (3/4)^4 = 68 % of the resamples only.
    assert found[2].concordant == pytest.approx(2 / 3)
    assert found[2].lower is None
    assert found[2].undefined > 0
    assert found[2].reason is not None
    assert found[2].reason.startswith("no interval: undefined on ")


def test_nothing_to_compare_gives_empty_bins():
    for x, y in (([], []), ([1], [1]), ([0, 0], [1, 2]), ([1, 2], [1, 1])):
        (found,) = concordance_by_contrast(x, y, (1.0, math.inf))
        assert not found.measurable
    assert found.tied == 1
    assert discordant_pairs([], [], []) == []


def test_a_call_can_be_repeated_and_a_generator_changes_the_resamples():
    random = np.random.default_rng(2)
    x, y = random.exponential(size=(2, 30))
    assert concordance_by_contrast(x, y, EDGES) == concordance_by_contrast(x.tolist(), torch.from_numpy(y), EDGES)
    other = concordance_by_contrast(x, y, EDGES, generator=torch.Generator().manual_seed(1))
    assert other != concordance_by_contrast(x, y, EDGES)


@pytest.mark.parametrize("edges", [(), (1.0,), (1.0, 1.0), (2.0, 1.0), (0.5, 2.0), (1.0, math.nan)])
def test_edges_that_make_no_bins_are_refused(edges):
    with pytest.raises(DataError, match="expected at least two increasing ratios from 1 on"):
        concordance_by_contrast([1, 2], [1, 2], edges)


def test_values_without_a_ratio_are_refused():
    with pytest.raises(DataError, match=r"x is -2\.0 in case 1, expected no negative value"):
        concordance_by_contrast([1, -2], [1, 2], EDGES)
    with pytest.raises(DataError, match=r"y is missing .* \(first in case 0\); leave out what was not measured"):
        discordant_pairs([1, 2], [None, 2], "ab")
    with pytest.raises(DataError, match="labels has 1 labels for 2 cases"):
        discordant_pairs([1, 2], [1, 2], "a")
