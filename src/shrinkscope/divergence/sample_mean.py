"""The mean of many draws with its standard error, in bounded memory."""

import math
from collections.abc import Callable

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity


class SampleMean(msgspec.Struct, frozen=True, kw_only=True):
    """Number, mean and sum of squared deviations of the values seen so far: a mergeable partial statistic.

    Attributes:
        count: Values seen.
        mean: Their mean.
        deviations: Σ(value − mean)².
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0

    def update(self, values: Float[Tensor, " n"]) -> "SampleMean":
        """These statistics with one more chunk of values.

        Source: Chan, Golub & LeVeque (1983), Eq. 2.1: nothing is subtracted that is not already a deviation.
        """
        values = values.to(torch.float64)
        added, total = values.numel(), self.count + values.numel()
        if added == 0:
            return self
        mean = float(values.mean())
        apart = mean - self.mean
        return SampleMean(
            count=total,
            mean=self.mean + apart * added / total,
            deviations=self.deviations
            + float((values - mean).square().sum())
            + apart * apart * self.count * added / total,
        )

    def quantity(self, unit: str) -> Quantity:
        """The mean as an estimate, with the standard error from the sample variance of all values."""
        error = math.sqrt(self.deviations / (self.count - 1) / self.count)
        return Quantity(value=self.mean, unit=unit, status="estimate", standard_error=error)


def mean_of_draws(draw: Callable[[int], Float[Tensor, " n"]], *, samples: int, repeats: int, chunk: int) -> Quantity:
    """The mean of samples × repeats independent draws, in nats, with its standard error.

    The mean over repeats of means over samples is the mean of all draws, and its standard error that of all of them;
    repeats only say how often the published procedure was run.

    Args:
        draw: Given a number of draws, makes them; a float vector.
        samples: Draws a repeat.
        repeats: Repeats that are averaged; at least two draws in all, for the standard error.
        chunk: Largest number of draws that is asked for at a time, and so held in memory.

    Raises:
        DivergenceError: If a number is out of range, or a draw is infinite or NaN.
    """
    if samples < 1 or repeats < 1 or samples * repeats < 2:
        raise DivergenceError(f"samples {samples}, repeats {repeats}; expected at least two samples in all")
    if chunk < 1:
        raise DivergenceError(f"chunk {chunk}; expected at least 1 sample at a time")
    statistics, left = SampleMean(), samples * repeats
    while left:
        values = draw(min(chunk, left))
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            raise DivergenceError(
                f"log p(x) − log q(x) is infinite or NaN at {int((~finite).sum())} of {values.numel()} samples x of p: "
                "q has no density where p has some (the divergence is infinite), or the densities overflow"
            )
        statistics = statistics.update(values)
        left -= values.numel()
    return statistics.quantity("nats")
