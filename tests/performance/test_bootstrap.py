"""Resampling: the law of the counts, percentile ends, and impossible requests.

Statistical tests use a fixed generator and a tolerance of 5 standard errors computed in the test: with another
seed, each comparison would fail with probability 6e-7.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkscope.errors import DataError
from shrinkscope.performance import bootstrap
from shrinkscope.performance.bootstrap import check_resampling, default_generator, percentile_interval, resample_counts


def test_counts_have_the_moments_of_a_multinomial():
    units, resamples = 7, 40_000
    counts = torch.cat(list(resample_counts(units, resamples, default_generator()))).numpy()
    # Each count is binomial(7, 1/7): mean 1, variance 6/7; a pair of units has covariance -1/7.
    error = np.sqrt(6 / 7 / resamples)
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, rtol=0, atol=5 * error)
    products = (counts[:, 0] - 1) * (counts[:, 1] - 1)
    assert abs(products.mean() + 1 / 7) < 5 * products.std() / np.sqrt(resamples)


@settings(deadline=None)
@given(units=st.integers(1, 40), resamples=st.integers(1, 60), entries=st.integers(1, 200))
def test_any_chunking_gives_all_resamples_each_of_the_right_size(units, resamples, entries):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "CHUNK_ENTRIES", entries)
        chunks = list(resample_counts(units, resamples, default_generator()))
    counts = torch.cat(chunks)
    assert counts.shape == (resamples, units)
    assert (counts.sum(dim=1) == units).all()
    # Memory is bounded: no chunk is larger than allowed, except that one row is always needed.
    assert all(chunk.numel() <= max(entries, units) for chunk in chunks)


def test_the_same_generator_gives_the_same_resamples_and_moves_on():
    generator = default_generator()
    first, second = (torch.cat(list(resample_counts(20, 5, generator))) for _ in range(2))
    assert torch.equal(first, torch.cat(list(resample_counts(20, 5, default_generator()))))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_percentile_interval_agrees_with_numpy(confidence):
    values = torch.randn(999, generator=default_generator(), dtype=torch.float64)
    expected = np.quantile(values.numpy(), [(1 - confidence) / 2, (1 + confidence) / 2])
    # Both interpolate linearly between order statistics; only the rounding of the position differs.
    np.testing.assert_allclose(percentile_interval(values, confidence), expected, rtol=1e-9)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_confidence_outside_the_unit_interval_is_refused(confidence):
    with pytest.raises(DataError, match=r"expected a number between 0 and 1, for example 0\.95"):
        check_resampling(2000, confidence)


@pytest.mark.parametrize(("confidence", "needed"), [(0.5, 4), (0.9, 20), (0.95, 40), (0.99, 200), (0.997, 667)])
def test_too_few_resamples_for_a_tail_are_refused(confidence, needed):
    check_resampling(needed, confidence)
    check_resampling(0, confidence)
    with pytest.raises(DataError, match=f"{needed - 1} resamples are too few .* give at least {needed}, or 0"):
        check_resampling(needed - 1, confidence)
    with pytest.raises(DataError, match="-1 resamples are too few"):
        check_resampling(-1, confidence)
