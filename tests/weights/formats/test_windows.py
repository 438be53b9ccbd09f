"""Values that are computed when they are read: in blocks, whatever the window."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.weights.formats import windows
from shrinkscope.weights.formats.windows import view_by_elements, view_by_rows

BLOCK = 40


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(windows, "_BLOCK", BLOCK)


@given(st.integers(1, 90), st.integers(1, 9), st.data())
def test_a_window_is_the_slice_and_no_row_is_computed_twice(width, rows, data):
    asked: list[int] = []
    values = torch.arange(rows * width, dtype=torch.float64).reshape(rows, width)

    def compute(first: int, last: int) -> torch.Tensor:
        assert (last - first) * width <= max(BLOCK, width)
        asked.extend(range(first, last))
        return values[first:last]

    view = view_by_rows("w", (rows, width), torch.float64, compute)
    start = data.draw(st.integers(0, rows * width))
    stop = data.draw(st.integers(start, rows * width))
    assert torch.equal(view.piece(start, stop), values.flatten()[start:stop])
    assert asked == sorted(set(asked))
    assert torch.equal(view.read(), values)


@given(st.integers(0, 300), st.integers(0, 300))
def test_elements_are_computed_in_blocks_that_begin_at_multiples(first, second):
    start, stop = sorted((first, second))
    asked: list[tuple[int, int]] = []

    def compute(begin: int, end: int) -> torch.Tensor:
        asked.append((begin, end))
        return torch.arange(begin, end, dtype=torch.float32)

    view = view_by_elements("w", (300,), torch.float32, compute, BLOCK)
    assert torch.equal(view.piece(start, stop), torch.arange(start, stop, dtype=torch.float32))
    assert all(begin // BLOCK == (end - 1) // BLOCK for begin, end in asked)
    assert all(begin % BLOCK == 0 for begin, _ in asked[1:])
