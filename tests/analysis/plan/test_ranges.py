"""Numbers as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.analysis.plan.ranges import numbers_in, text_of
from shrinkscope.errors import StoreError


@given(st.sets(st.integers(0, 50)))
def test_numbers_come_back_from_their_text(numbers):
    assert numbers_in(text_of(numbers)) == sorted(numbers)


@pytest.mark.parametrize("text", ["a", "1,,2", "3-", "-3", "1-x", " "])
def test_other_text_is_refused(text):
    with pytest.raises(StoreError, match="expected numbers and ranges, such as 0,3,5-8"):
        numbers_in(text)
