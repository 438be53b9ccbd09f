"""Distinct values and groups of consecutive elements against sets and loops, with the kernel and without."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkscope.kernel import GROUPS, LIMIT, available, distinct_values, merge_distinct, most_in_groups

TYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn)
numbers = st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, 3.0, 1e-5]), max_size=60)


@pytest.fixture(params=["kernel", "torch"])
def whichever(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr("shrinkscope.kernel.values.loaded", lambda: "no compiler")
    elif available() is None:
        pytest.skip("the kernel is not built")


@pytest.mark.usefixtures("whichever")
class TestBoth:
    @settings(max_examples=50)
    @given(numbers, st.sampled_from(TYPES))
    def test_distinct_values_are_those_of_a_set(self, values, dtype):
        tensor = torch.tensor(values, dtype=torch.float64).to(dtype)
        assert len(distinct_values(tensor)) == len({value + 0.0 for value in tensor.to(torch.float64).tolist()})

    @pytest.mark.parametrize("dtype", TYPES[:4])
    def test_more_than_the_limit_is_never_a_number(self, dtype):
        few = torch.arange(LIMIT).to(torch.int16).view(torch.bfloat16 if dtype == torch.bfloat16 else torch.float16)
        values = few.to(dtype).repeat(40)
        assert len(distinct_values(values)) == LIMIT
        assert distinct_values(torch.cat([values, values[:1] * 0 + 60_000])) is None

    @settings(max_examples=50)
    @given(numbers, numbers)
    def test_parts_merge_to_the_whole(self, first, second):
        x, y = torch.tensor(first), torch.tensor(second)
        merged = merge_distinct(distinct_values(x), distinct_values(y))
        np.testing.assert_array_equal(merged, distinct_values(torch.cat([x, y])))

    @settings(max_examples=80)
    @given(st.lists(st.booleans(), max_size=80), st.sampled_from(TYPES))
    def test_most_in_groups_counts_whole_groups(self, full, dtype):
        values = torch.tensor([1.0 if item else -0.0 for item in full]).to(dtype)
        naive = []
        for length in GROUPS:
            groups = [sum(full[i : i + length]) for i in range(0, len(full) - length + 1, length)]
            naive.append(max(groups, default=0))
        found = most_in_groups(values)
        # Once every length has more than its half the search may stop.
        if any(most <= length // 2 for most, length in zip(naive, GROUPS, strict=True)):
            assert found == tuple(naive)
        else:
            assert all(length // 2 < most <= true for most, true, length in zip(found, naive, GROUPS, strict=True))


def test_too_many_stay_too_many():
    some = distinct_values(torch.ones(3))
    assert merge_distinct(None, some) is None
    assert merge_distinct(some, None) is None
    half = np.arange(LIMIT, dtype=np.uint64)
    assert merge_distinct(half, half + np.uint64(1)) is None
