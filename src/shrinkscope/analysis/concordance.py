"""Whether two measures order the same cases alike: Kendall's tau-b with an interval.

The paper's claim, "when one method's KL decreases relative to another's, its performance difference decreases
too", is a statement about pairs of cases; tau, and the fraction of pairs that disagree, put it in numbers.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import msgspec
import torch
from torch import Tensor

from shrinkscope.analysis.pairs import Cases, Column, Labels, cases_of, missing, pair_sums
from shrinkscope.analysis.spread import Spread, resampled_spread, too_few, unanimous_spread
from shrinkscope.performance.bootstrap import check_resampling, default_generator


class Concordance(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement of two measures on the order of cases: an estimate for the population the cases or clusters come from.

    Attributes:
        tau: Kendall's tau-b, in [-1, 1]; None when not measurable.
        lower: Lower end of its interval; None without one.
        upper: Upper end.
        confidence: Probability that the interval aims at.
        interval: "bootstrap", or "exact" when every pair agrees (or none does), where resampling shows no
            spread and the interval is what as many independent pairs allow.
        standard_error: Standard deviation of tau over the resamples; None without a bootstrap interval.
        cases: Number of cases.
        clusters: Number of clusters that were resampled; None when the cases themselves were.
        pairs: Number of compared pairs that differ in both measures.
        discordant: Fraction of those pairs that the two measures order differently; None when there are none.
        least: Lowest tau of a cluster by itself, where clusters are too few for an interval; otherwise None.
        most: Highest tau of a cluster by itself, likewise.
        undefined: Resamples on which a measure is constant, so that tau does not exist; the interval leaves
            them out.
        measurable: Whether tau exists.
        reason: Why it does not, or why it has no interval; None when there is nothing to say.
        status: Always "estimate".
    """

    tau: float | None
    lower: float | None
    upper: float | None
    confidence: float
    interval: Literal["bootstrap", "exact"] | None
    standard_error: float | None
    cases: int
    clusters: int | None
    pairs: int
    discordant: float | None
    undefined: int
    measurable: bool
    reason: str | None
    least: float | None = None
    most: float | None = None
    status: Literal["estimate"] = "estimate"


def concordance(
    x: Column,
    y: Column,
    *,
    clusters: Labels | None = None,
    strata: Labels | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
) -> Concordance:
    """Measure how far two measures order the same cases alike: Kendall's tau-b, a number in [-1, 1], with an interval.

    Args:
        x: One value per case, for example an AP.
        y: One value per case, for example a PD; only the order of either matters, so units are free.
        clusters: Label per case; cases of one cluster, for example of one trial, are resampled together because
            they are not independent. None resamples cases. An interval from a handful of clusters is rough, and
            usually too narrow; fewer than four have none of 95 %, but their lowest and highest tau.
        strata: Label per case; only pairs within a stratum are compared, for example (trial, level, epoch) to
            compare methods.
        resamples: Number of resamples; 0 gives no interval.
        confidence: Probability that the interval aims at, in (0, 1).
        generator: Source of the resamples; None means a new generator with seed 0, so that a call can be
            repeated.

    Returns:
        tau-b and the fraction of discordant pairs. Not measurable, with the reason, when a value is missing or
        not finite, or when no two compared cases differ in one of the measures.

    Raises:
        DataError: If the columns or labels differ in length, or resamples and confidence are impossible.

    Source: Kendall, Biometrika 33 (1945), for tau-b; its value on a resample from the counts of the cases is
        derived here, and test_every_resample_has_the_tau_of_scipy compares each with scipy.
    """
    check_resampling(resamples, confidence)
    cases = cases_of(x, y, clusters, strata)
    once = torch.ones(1, cases.count, dtype=torch.float64)
    score, untied_x, untied_y, both = pair_sums(cases, once, partial(_all_relations, cases))[:, 0].tolist()

    def draw() -> Tensor:
        found = [taus(cases, weights) for weights in cases.weights(resamples, generator or default_generator())]
        return torch.cat(found) if found else torch.empty(0)

    return from_sums(cases, (score, untied_x, untied_y, both), draw, lambda: taus(cases, alone(cases)), confidence)


def from_sums(
    cases: Cases,
    sums: Sequence[float],
    draw: Callable[[], Tensor],
    separate: Callable[[], Tensor],
    confidence: float,
) -> Concordance:
    """Put a concordance together.

    Args:
        cases: The cases.
        sums: Over all compared pairs: agreement, pairs that differ in x, in y, and in both.
        draw: Gives tau on each resample; empty when no interval is wanted.
        separate: Gives tau of each unit by itself.
        confidence: Probability that the interval aims at.

    Returns:
        The concordance, not measurable where a value is missing or a measure is constant.
    """
    score, untied_x, untied_y, both = sums
    obstacle = missing(cases) or _constant(cases, untied_x, untied_y)
    if obstacle is not None:
        return _record(cases, confidence, None, 0, None, Spread(reason=obstacle))
    tau = score / math.sqrt(untied_x * untied_y)
    drawn = draw()
    # Cases that all agree have an exact interval however few they are. So would clusters, but beside clusters that do
    # not all agree, which have none, it would read as if agreement made the result less certain.
    few = cases.clustered and len(drawn) > 0 and too_few(cases, confidence) is not None
    if len(drawn) and not few and abs(score) == untied_x == untied_y:
        spread = _unanimous(cases, score, confidence)
    else:
        spread = resampled_spread(cases, drawn, confidence)
    found = _record(cases, confidence, tau, round(both), (both - score) / (2 * both) if both else None, spread)
    if not few:
        return found
    least, most = extremes(separate())
    return msgspec.structs.replace(found, least=least, most=most)


def alone(cases: Cases) -> Tensor:
    """Weights that hold one unit each, shape (units, cases)."""
    return (torch.arange(cases.unit_count)[:, None] == cases.units[None, :]).to(torch.float64)


def extremes(values: Tensor) -> tuple[float | None, float | None]:
    """Lowest and highest of the values that exist; None of none."""
    there = values[values.isfinite()]
    return (float(there.min()), float(there.max())) if len(there) else (None, None)


def taus(cases: Cases, weights: Tensor) -> Tensor:
    """Return tau-b of each resample, NaN where a measure is constant on it.

    Args:
        cases: The cases.
        weights: How often each case is in each resample, shape (resamples, cases).

    Returns:
        Float64, shape (resamples,).
    """
    score, untied_x, untied_y = pair_sums(cases, weights, partial(_relations, cases))
    return score / (untied_x * untied_y).sqrt()


def _relations(cases: Cases, rows: slice) -> tuple[Tensor, ...]:
    """Per pair: agreement (1 or -1), whether it differs in x, and in y; the sums are what tau-b is made of."""
    x, y = cases.signs(rows)
    return x * y, x.abs(), y.abs()


def _all_relations(cases: Cases, rows: slice) -> tuple[Tensor, ...]:
    """The relations of tau-b, and whether the pair differs in both measures."""
    agreement, in_x, in_y = _relations(cases, rows)
    return agreement, in_x, in_y, in_x * in_y


def _constant(cases: Cases, untied_x: float, untied_y: float) -> str | None:
    if untied_x and untied_y:
        return None
    name = "y" if untied_x else "x"
    return f"no two of the {cases.count} cases that are compared differ in {name}, so there is no order to agree with"


def _unanimous(cases: Cases, score: float, confidence: float) -> Spread:
    spread = unanimous_spread(cases, lambda rows: cases.signs(rows)[0] != 0, confidence)
    assert spread.lower is not None
    # A fraction f of agreeing pairs without ties is tau = 2 f - 1.
    least = 2 * spread.lower - 1
    ends = (least, 1.0) if score > 0 else (-1.0, -least)
    return msgspec.structs.replace(spread, lower=ends[0], upper=ends[1])


def _record(
    cases: Cases, confidence: float, tau: float | None, pairs: int, discordant: float | None, spread: Spread
) -> Concordance:
    return Concordance(
        tau=tau,
        lower=spread.lower,
        upper=spread.upper,
        confidence=confidence,
        interval=spread.kind,
        standard_error=spread.standard_error,
        cases=cases.count,
        clusters=cases.unit_count if cases.clustered else None,
        pairs=pairs,
        discordant=discordant,
        undefined=spread.undefined,
        measurable=tau is not None,
        reason=spread.reason,
    )
