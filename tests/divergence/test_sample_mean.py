"""Mean and standard error in chunks against numpy on all values at once."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.divergence.sample_mean import SampleMean, mean_of_draws
from shrinkscope.errors import DivergenceError


def table(values: torch.Tensor):
    """Draws that are the next entries of a table, and how many were asked for each time."""
    position, asked = 0, []

    def draw(count: int) -> torch.Tensor:
        nonlocal position
        position += count
        asked.append(count)
        return values[position - count : position]

    return draw, asked


VALUES = 3.0 + torch.randn(1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@given(chunk=st.integers(1, 1200))
def test_any_chunk_gives_the_mean_and_standard_error_of_the_same_draws(chunk):
    draw, asked = table(VALUES)
    quantity = mean_of_draws(draw, samples=250, repeats=4, chunk=chunk)
    values = VALUES.numpy()
    # Rounding of sums of 1,000 positive terms in another order.
    assert quantity.value == pytest.approx(values.mean(), rel=1e-13)
    assert quantity.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(1000), rel=1e-13)
    assert (quantity.unit, quantity.status) == ("nats", "estimate")
    assert max(asked) <= chunk
    assert sum(asked) == 1000


def test_a_large_common_part_costs_no_digits_of_the_standard_error():
    # Σv² − n·mean² would have lost all digits of the variance at 1e9.
    draw, _ = table(1e9 + VALUES)
    error = mean_of_draws(draw, samples=1000, repeats=1, chunk=7).standard_error
    # The values themselves, and so the means of chunks, are rounded to 1e-7.
    assert error == pytest.approx(np.std((1e9 + VALUES).numpy(), ddof=1) / math.sqrt(1000), rel=1e-6)


def test_float32_draws_are_accumulated_in_float64():
    draw, _ = table(VALUES.to(torch.float32))
    assert mean_of_draws(draw, samples=1000, repeats=1, chunk=7).value == pytest.approx(
        float(VALUES.to(torch.float32).to(torch.float64).mean()), rel=1e-13
    )


def test_no_values_change_nothing():
    statistics = SampleMean().update(VALUES)
    assert statistics.update(VALUES[:0]) == statistics


@pytest.mark.parametrize(("samples", "repeats"), [(1, 1), (0, 5), (5, 0), (-3, -3)])
def test_fewer_than_two_samples_are_refused(samples, repeats):
    with pytest.raises(DivergenceError, match=f"samples {samples}, repeats {repeats}; expected at least two"):
        mean_of_draws(table(VALUES)[0], samples=samples, repeats=repeats, chunk=10)


def test_a_chunk_below_one_is_refused():
    with pytest.raises(DivergenceError, match="chunk 0; expected at least 1"):
        mean_of_draws(table(VALUES)[0], samples=10, repeats=1, chunk=0)


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan])
def test_an_infinite_ratio_is_refused(wrong):
    values = VALUES.clone()
    values[[3, 5]] = wrong
    with pytest.raises(DivergenceError, match="infinite or NaN at 2 of 8 samples x of p"):
        mean_of_draws(table(values)[0], samples=10, repeats=1, chunk=8)
