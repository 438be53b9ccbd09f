"""Exact counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from references.pruning import count
from shrinkscope.compression import nearest_count


@pytest.mark.parametrize(
    ("level", "size", "expected"),
    [(0.3, 10, 3), (0.35, 10, 4), (0.25, 2, 1), (0.5, 5, 3), (0.1, 5, 1), (0.0, 7, 0), (1.0, 7, 7), (0.7, 0, 0)],
)
def test_known_counts(level: float, size: int, expected: int) -> None:
    assert nearest_count(level, size) == expected


def test_half_is_decided_by_the_decimal_that_was_written() -> None:
    # 1.15 % of 10,000 has an exact half only in decimal: 0.00115 × 10,000 = 11.5, in binary just above or below.
    assert nearest_count(0.00115, 10_000) == 12
    assert nearest_count(0.285, 100) == 29  # int(0.285 * 100 + 0.5) == 28: the product is 28.499999999999996


@given(level=st.floats(0, 1), size=st.integers(0, 10**12))
def test_agrees_with_decimal_arithmetic(level: float, size: int) -> None:
    got = nearest_count(level, size)
    assert got == count(level, size)
    assert 0 <= got <= size


@given(per_mille=st.integers(0, 1000), size=st.integers(0, 5000))
def test_agrees_with_integer_arithmetic_on_written_levels(per_mille: int, size: int) -> None:
    assert nearest_count(per_mille / 1000, size) == (2 * per_mille * size + 1000) // 2000
