"""Whether one measure orders cases better than another: paired differences of Kendall's tau, a sign test, Holm's step.

The paper holds AP3 against AP2 by eye. Here both are held against the same performance differences, on the same
resamples, so that what the two have in common (the networks, the evaluation data) cancels.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import torch
from torch import Tensor

from shrinkscope.analysis.concordance import alone, extremes, taus
from shrinkscope.analysis.pairs import Cases, Column, Labels, blocks, cases_of, missing
from shrinkscope.analysis.spread import too_few
from shrinkscope.errors import DataError
from shrinkscope.performance.bootstrap import check_resampling, default_generator, percentile_interval


class SignTest(msgspec.Struct, frozen=True, kw_only=True):
    """Exact two-sided sign test of "as often better as worse"; ties say nothing and are left out.

    Attributes:
        better: Units in which the first measure agrees more.
        worse: Units in which the second does.
        tied: Units in which both agree equally.
        p: Probability of a split at least as uneven if better and worse were equally likely and units independent; 1
            without a unit that differs.
    """

    better: int
    worse: int
    tied: int
    p: float


class PairedTau(msgspec.Struct, frozen=True, kw_only=True):
    """How much better one measure orders cases than another, both held against the same outcome.

    Attributes:
        first: tau-b of the first measure with the outcome; None when not measurable.
        second: tau-b of the second.
        shared: tau-b of the two measures with each other: 1 means that they order the cases alike, so that neither
            can add to the other's order.
        difference: ``first`` minus ``second``.
        lower: Lower end of its paired bootstrap interval; None without one.
        upper: Upper end.
        confidence: Probability that the interval aims at.
        units: What was resampled: number of cases, or of clusters.
        least: Lowest difference of a cluster by itself, where clusters are too few for an interval; otherwise None.
        most: Highest difference of a cluster by itself, likewise.
        undefined: Resamples on which a tau does not exist; the interval leaves them out.
        signs: Sign test over the strata.
        measurable: Whether the difference exists.
        reason: Why it, or its interval, does not.
        status: Always "estimate".
    """

    first: float | None
    second: float | None
    shared: float | None
    difference: float | None
    lower: float | None
    upper: float | None
    confidence: float
    units: int
    undefined: int
    signs: SignTest
    measurable: bool
    reason: str | None
    least: float | None = None
    most: float | None = None
    status: str = "estimate"


def sign_test(better: int, worse: int, tied: int = 0) -> SignTest:
    """Test whether better and worse are equally likely, exactly.

    Args:
        better: Number of units in which the first is better, at least 0.
        worse: Number in which the second is.
        tied: Number in which neither is; they are reported and not used.

    Returns:
        The counts and the two-sided p.

    Raises:
        DataError: If a count is negative.

    Source: binomial distribution with probability ½, twice the smaller tail; test_the_sign_test_is_that_of_scipy.
    """
    if min(better, worse, tied) < 0:
        raise DataError(f"counts {better}, {worse} and {tied}; expected none below 0")
    units = better + worse
    tail = sum(math.comb(units, k) for k in range(min(better, worse) + 1))
    return SignTest(better=better, worse=worse, tied=tied, p=min(1.0, 2 * tail / 2**units))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for being the most striking of several, whatever their dependence.

    Args:
        p_values: One p per hypothesis, in [0, 1].

    Returns:
        Adjusted p in the same order: rejecting those below α errs anywhere with probability at most α.

    Raises:
        DataError: If a p lies outside [0, 1].

    Source: Holm, Scandinavian Journal of Statistics 6 (1979); test_holm_controls_like_its_definition.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise DataError(f"p values {list(p_values)}; expected each in [0, 1]")
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def paired_tau(
    first: Column,
    second: Column,
    outcome: Column,
    *,
    clusters: Labels | None = None,
    strata: Labels | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
) -> PairedTau:
    """Measure how much better the first measure orders the outcome than the second does, in tau-b.

    Args:
        first: One value per case, for example an AP3.
        second: One value per case, for example AP2.
        outcome: One value per case, for example a PD.
        clusters: Label per case of what is resampled together, for example trials; None resamples cases.
        strata: Label per case; only pairs within a stratum are compared, and the sign test counts strata.
        resamples: Number of resamples; 0 gives no interval.
        confidence: Probability that the interval aims at, in (0, 1).
        generator: Source of the resamples; None means a new generator with seed 0.

    Returns:
        The difference with a percentile interval from resamples that both measures share.

    Raises:
        DataError: If columns or labels differ in length, or resamples and confidence are impossible.

    Source: derived here; test_the_difference_is_that_of_scipy compares every part with scipy.
    """
    check_resampling(resamples, confidence)
    one, two = (cases_of(measure, outcome, clusters, strata) for measure in (first, second))
    both = cases_of(first, second, clusters, strata)

    def draw() -> Tensor:
        found = [taus(one, w) - taus(two, w) for w in one.weights(resamples, generator or default_generator())]
        return torch.cat(found) if found else torch.empty(0)

    if (obstacle := missing(one) or missing(two)) is not None:
        return not_paired(one, obstacle, confidence)
    return from_parts(
        one,
        (_tau(one), _tau(two), _tau(both)),
        draw,
        lambda: taus(one, alone(one)) - taus(two, alone(two)),
        lambda: _scores(one) - _scores(two),
        confidence,
    )


def not_paired(cases: Cases, reason: str, confidence: float) -> PairedTau:
    """A difference that does not exist.

    Args:
        cases: The cases.
        reason: Why.
        confidence: Probability that its interval would have aimed at.
    """
    return PairedTau(
        first=None,
        second=None,
        shared=None,
        difference=None,
        lower=None,
        upper=None,
        confidence=confidence,
        units=cases.unit_count,
        undefined=0,
        signs=sign_test(0, 0),
        measurable=False,
        reason=reason,
    )


def from_parts(
    cases: Cases,
    values: tuple[float | None, float | None, float | None],
    draw: Callable[[], Tensor],
    separate: Callable[[], Tensor],
    leads: Callable[[], Tensor],
    confidence: float,
) -> PairedTau:
    """Put a paired difference together.

    Args:
        cases: The cases, none of them missing.
        values: tau of the first measure, of the second, and of both with each other; None where it does not exist.
        draw: Gives the difference on each resample; empty when no interval is wanted.
        separate: Gives the difference in each unit by itself.
        leads: Gives by how many pairs the first measure agrees more than the second, stratum by stratum.
        confidence: Probability that the interval aims at.
    """
    first, second, shared = values
    if first is None or second is None:
        constant = "a measure or the outcome is constant within the cases that are compared, so it has no order"
        return msgspec.structs.replace(
            not_paired(cases, constant, confidence), first=first, second=second, shared=shared
        )
    drawn, lead = draw(), leads()
    there = drawn[drawn.isfinite()]
    undefined = len(drawn) - len(there)
    lower = upper = least = most = reason = None
    if cases.clustered and len(drawn) and (reason := too_few(cases, confidence)) is not None:
        least, most = extremes(separate())
    elif len(drawn) and 2 * len(there) <= len(drawn):
        reason = f"tau does not exist on {undefined} of {len(drawn)} resamples, so there is no interval"
    elif len(drawn):
        lower, upper = percentile_interval(there, confidence)
    return PairedTau(
        first=first,
        second=second,
        shared=shared,
        difference=first - second,
        lower=lower,
        upper=upper,
        least=least,
        most=most,
        confidence=confidence,
        units=cases.unit_count,
        undefined=undefined,
        signs=sign_test(int((lead > 0).sum()), int((lead < 0).sum()), int((lead == 0).sum())),
        measurable=True,
        reason=reason,
    )


def _tau(cases: Cases) -> float | None:
    value = float(taus(cases, torch.ones(1, cases.count, dtype=torch.float64)))
    return None if math.isnan(value) else value


def _scores(cases: Cases) -> Tensor:
    """Concordant minus discordant pairs of each stratum (each pair counted twice)."""
    scores = torch.zeros(int(cases.strata.max()) + 1, dtype=torch.float64)
    for rows in blocks(cases.count):
        x, y = cases.signs(rows)
        scores.index_add_(0, cases.strata[rows], (x * y).sum(dim=1, dtype=torch.float64))
    return scores
