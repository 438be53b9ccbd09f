"""Independent pairs against an exhaustive search, and what is no column of cases."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.pairs import largest_matching
from shrinkscope.analysis import pairs
from shrinkscope.analysis.pairs import blocks, cases_of, independent_pairs, label_list, pair_sums
from shrinkscope.errors import DataError


@given(
    x=st.lists(st.integers(0, 3), min_size=2, max_size=7),
    seed=st.integers(0, 2**31),
)
def test_independent_pairs_share_no_unit_and_are_at_least_half_of_what_is_possible(x, seed):
    labels = np.random.default_rng(seed).integers(0, len(x), len(x))
    cases = cases_of(x, x, clusters=labels)
    allowed = [(i, j) for i, j in combinations(range(len(x)), 2) if x[i] != x[j]]
    best = largest_matching(allowed, labels.tolist())
    found = independent_pairs(cases, lambda rows: cases.signs(rows)[0] != 0)
    # A maximal matching has at least half as many pairs as a largest one, and one pair if there is any.
    assert best / 2 <= found <= best


def test_without_clusters_n_distinct_cases_hold_half_as_many_independent_pairs():
    cases = cases_of(range(9), range(9))
    assert independent_pairs(cases, lambda rows: cases.signs(rows)[0] != 0) == 4


@given(count=st.integers(0, 40), size=st.integers(1, 12))
def test_blocks_cover_all_cases_in_order(count, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "ROWS", size)
        found = list(blocks(count))
    assert len(found) >= 1
    assert [case for rows in found for case in range(rows.start, rows.stop)] == list(range(count))


def test_signs_neither_underflow_nor_overflow():
    x, _ = cases_of([5e-324, 0.0, 1.7e308, -1.7e308], [1, 1, 1, 1]).signs(slice(0, 4))
    assert x.tolist() == [[0, 1, -1, 1], [-1, 0, -1, 1], [1, 1, 0, 1], [-1, -1, -1, 0]]


@given(scale=st.sampled_from([1, 300, 2**20, 2**25]), seed=st.integers(0, 2**31))
def test_weighted_sums_over_pairs_are_exact_integers(scale, seed):
    random = np.random.default_rng(seed)
    x = random.integers(0, 4, 9)
    weights = scale * random.integers(0, 4, (3, 9))
    cases = cases_of(x, x)
    found = pair_sums(cases, torch.from_numpy(weights).to(torch.float64), lambda rows: [cases.signs(rows)[0].abs()])
    # Python's integers; beyond 2**24 float32 would round them.
    expected = [[sum(int(w[i]) * int(w[j]) for i, j in combinations(range(9), 2) if x[i] != x[j]) for w in weights]]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "column", [[1, 2.5, None], (1.0, 2.5, float("nan")), np.array([1, 2.5, np.nan]), torch.tensor([1, 2.5, torch.nan])]
)
def test_columns_of_any_kind_are_float64(column):
    values = cases_of(column, [1, 2, 3]).x
    assert values.dtype == torch.float64
    assert torch.equal(values.isnan(), torch.tensor([False, False, True]))


@pytest.mark.parametrize(
    "labels",
    [[("a", 1), ("b", 2), ("a", 1)], np.array([4, 5, 4]), torch.tensor([4, 5, 4]), ["x", "y", "x"]],
)
def test_labels_of_any_kind_become_indices(labels):
    cases = cases_of([1, 2, 3], [1, 2, 3], clusters=labels, strata=labels)
    assert cases.units.tolist() == cases.strata.tolist() == [0, 1, 0]
    assert cases.unit_count == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1, 2, 3]), "x has 2 cases and y 3; give one value of each per case"),
        ((np.array(["1", "high"]), [1, 2]), "x holds something that is no number"),
        (([1, 2], np.array([[1], [2]])), r"y has shape \(2, 1\), expected one value per case"),
        (([1, 2], [1, 2], [0]), "clusters has 1 labels for 2 cases"),
        (([1, 2], [1, 2], None, [0, 1, 2]), "strata has 3 labels for 2 cases; give one per case"),
    ],
)
def test_columns_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        cases_of(*arguments)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="names has 1 labels for 3 cases"):
        label_list("names", ["a"], 3)
