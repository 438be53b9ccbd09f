"""Resampling units with replacement: how often each is drawn, and percentile intervals."""

from collections.abc import Iterator

import torch
from torch import Tensor

from shrinkscope.errors import DataError

# Counts of one chunk of resamples: 32 MB of float64, and as much again of indices, whatever the numbers of
# units and resamples.
CHUNK_ENTRIES = 2**22


def default_generator() -> torch.Generator:
    """Return the generator used when none is passed: seed 0, on the CPU.

    The same data then give the same interval on every call.

    Returns:
        A new generator.
    """
    return torch.Generator().manual_seed(0)


def resample_counts(units: int, resamples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Draw resamples of ``units`` units with replacement, as multinomial counts instead of indices.

    A mean over a resample is then ``counts @ values / units``, and one draw serves any number of statistics.

    Args:
        units: Number of units (samples, cases or clusters), at least 1.
        resamples: Number of resamples.
        generator: Source of randomness, advanced by ``units * resamples`` draws.

    Yields:
        Float64 counts of shape (chunk, units), each row summing to ``units``; the chunks add up to
        ``resamples`` rows.
    """
    rows = max(1, CHUNK_ENTRIES // max(units, 1))
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), units)
        drawn = torch.randint(units, shape, generator=generator, device=generator.device).to("cpu")
        one = torch.ones((), dtype=torch.float64)
        yield torch.zeros(shape, dtype=torch.float64).scatter_add_(1, drawn, one.expand(shape))


def percentile_interval(values: Tensor, confidence: float) -> tuple[float, float]:
    """Return the equal-tailed percentile interval of resampled values, in their unit.

    Args:
        values: Finite values of shape (resamples,).
        confidence: Probability inside, in (0, 1).

    Returns:
        Lower and upper end.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    tail = (1 - confidence) / 2
    ends = torch.quantile(values.to(torch.float64), torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(ends[0]), float(ends[1])


def check_resampling(resamples: int, confidence: float) -> None:
    """Refuse a confidence outside (0, 1) and a number of resamples too small to have a value in each tail.

    Args:
        resamples: Number of resamples; 0 means that no interval is wanted.
        confidence: Probability inside the interval.

    Raises:
        DataError: If either is impossible.
    """
    if not 0 < confidence < 1:
        raise DataError(f"confidence = {confidence}, expected a number between 0 and 1, for example 0.95")
    # Rounded before the ceiling: 2 / (1 - 0.95) is 39.99...96 or 40.00...04 according to the last bit of
    # 0.95.
    needed = int(-(-round(2 / (1 - confidence), 6) // 1))
    if resamples != 0 and resamples < needed:
        raise DataError(
            f"{resamples} resamples are too few for confidence {confidence:.4g}; give at least {needed}, "
            "or 0 for no interval"
        )
