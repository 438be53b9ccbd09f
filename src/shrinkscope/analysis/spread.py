"""What can be said about the uncertainty of a statistic of pairs: an interval and its kind, or why there is none."""

from collections.abc import Callable
from typing import Literal

import msgspec
from torch import Tensor

from shrinkscope.analysis.pairs import Cases, independent_pairs
from shrinkscope.performance.bootstrap import percentile_interval


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said about a statistic's uncertainty: an interval, how it was made, or why there is none."""

    lower: float | None = None
    upper: float | None = None
    kind: Literal["bootstrap", "exact"] | None = None
    standard_error: float | None = None
    undefined: int = 0
    reason: str | None = None


def resampled_spread(cases: Cases, drawn: Tensor, confidence: float) -> Spread:
    """Return the percentile interval of resampled values that may be NaN where the statistic does not exist.

    Args:
        cases: What was resampled.
        drawn: The statistic on each resample, shape (resamples,); empty when no interval is wanted.
        confidence: Probability that the interval aims at.

    Returns:
        The interval over the resamples on which the statistic exists; none when more are undefined than an
        interval of this confidence leaves outside, because then it could end anywhere.
    """
    if len(drawn) == 0:
        return Spread()
    if (few := too_few(cases, confidence)) is not None:
        return Spread(reason=few)
    defined = drawn[drawn.isfinite()]
    undefined = len(drawn) - len(defined)
    if undefined > (1 - confidence) * len(drawn):
        where = f"undefined on {undefined} of {len(drawn)} resamples"
        return Spread(undefined=undefined, reason=f"no interval: {where}; give more cases or clusters")
    lower, upper = percentile_interval(defined, confidence)
    error = float(defined.std(correction=1))
    return Spread(lower=lower, upper=upper, kind="bootstrap", standard_error=error, undefined=undefined)


def too_few(cases: Cases, confidence: float) -> str | None:
    """Say that there are too few units for an interval, or None.

    Of k units, a resample of the extreme one alone has probability k⁻ᵏ. Where that is more than a tail of the interval,
    the interval would end at the extreme units whatever lies between them: 3 units for 95 %.

    Args:
        cases: What would be resampled.
        confidence: Probability that the interval aims at.

    Returns:
        One line, or None.
    """
    units = cases.unit_count
    if units**-units <= (1 - confidence) / 2:
        return None
    what = f"{units} {'cluster' if cases.clustered else 'case'}{' is' if units == 1 else 's are'}"
    return f"no interval: {what} too few for one of {100 * confidence:g} %"


def unanimous_spread(cases: Cases, relate: Callable[[slice], Tensor], confidence: float) -> Spread:
    """Return the interval of the fraction of agreeing pairs when every pair agrees, so that resampling shows no spread.

    Args:
        cases: The cases.
        relate: Which pairs there are, as for ``independent_pairs``.
        confidence: Probability inside the two-sided interval.

    Returns:
        The Clopper-Pearson interval of as many independent pairs as there are, all agreeing, so that it
        ends at 1.

    Source: Clopper & Pearson, Biometrika 26 (1934), for as many successes as trials.
    """
    least = ((1 - confidence) / 2) ** (1 / independent_pairs(cases, relate))
    return Spread(lower=least, upper=1.0, kind="exact")
