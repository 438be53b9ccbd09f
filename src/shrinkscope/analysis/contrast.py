"""Where a smaller AP goes with a larger PD, and whether a greater contrast between APs makes that rarer."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from shrinkscope.analysis.pairs import Cases, Column, Labels, blocks, cases_of, label_list, missing, pair_sums
from shrinkscope.analysis.spread import Spread, resampled_spread, too_few, unanimous_spread
from shrinkscope.errors import DataError
from shrinkscope.performance.bootstrap import check_resampling, default_generator


class DiscordantPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two cases that contradict "smaller x, smaller y".

    Attributes:
        smaller: Label of the case with the smaller x.
        larger: Label of the case with the larger x, and the smaller y.
        ratio: Larger x over smaller x, above 1; infinite when the smaller one is zero.
        x_smaller: x of the first case, for example its AP.
        x_larger: x of the second case.
        y_smaller: y of the first case (the one with the smaller x), for example its PD.
        y_larger: y of the second case; below ``y_smaller``, which is the contradiction.
    """

    smaller: Any
    larger: Any
    ratio: float
    x_smaller: float
    x_larger: float
    y_smaller: float
    y_larger: float


class ContrastBin(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement of the pairs whose x values have a ratio in one range.

    Attributes:
        least: Least ratio (larger x over smaller x) in the bin.
        below: Ratios stay below this; the last bin includes it.
        pairs: Pairs in the bin that differ in both measures.
        tied: Pairs in the bin that differ in x and not in y, which neither agree nor disagree.
        concordant: Fraction of ``pairs`` in which the case with the smaller x has the smaller y; None when not
            measurable.
        lower: Lower end of its interval; None without one.
        upper: Upper end.
        confidence: Probability that the interval aims at.
        interval: "bootstrap", or "exact" when every pair agrees (or none does), where resampling shows no
            spread and the interval is what as many independent pairs allow.
        standard_error: Standard deviation over the resamples; None without a bootstrap interval.
        undefined: Resamples that hold no pair of the bin; the interval leaves them out.
        measurable: Whether the bin holds a pair.
        reason: Why it does not, or why there is no interval.
        status: Always "estimate".
    """

    least: float
    below: float
    pairs: int
    tied: int
    concordant: float | None
    lower: float | None
    upper: float | None
    confidence: float
    interval: Literal["bootstrap", "exact"] | None
    standard_error: float | None
    undefined: int
    measurable: bool
    reason: str | None
    status: Literal["estimate"] = "estimate"


def discordant_pairs(
    x: Column, y: Column, labels: Labels, *, strata: Labels | None = None, limit: int | None = None
) -> list[DiscordantPair]:
    """List the pairs of cases in which the smaller x has the larger y, the largest ratio of the x values first.

    Args:
        x: One non-negative value per case, for example an AP.
        y: One value per case, for example a PD.
        labels: What to call each case.
        strata: Label per case; only pairs within a stratum are compared.
        limit: How many to return; None returns all.

    Returns:
        The pairs; of equal ratios, the one that comes first in the columns.

    Raises:
        DataError: If the lengths differ, a value is missing or not finite, or an x is negative.
    """
    cases = _with_ratios(cases_of(x, y, None, strata))
    names = label_list("labels", labels, cases.count)
    larger, smaller = _discordant(cases)
    ratios = cases.x[larger] / cases.x[smaller]
    order = torch.argsort(ratios, descending=True, stable=True)[:limit]
    larger, smaller = larger[order], smaller[order]
    columns = (cases.x[smaller], cases.x[larger], cases.y[smaller], cases.y[larger], ratios[order])
    rows = zip(smaller.tolist(), larger.tolist(), *(column.tolist() for column in columns), strict=True)
    return [
        DiscordantPair(
            smaller=names[i],
            larger=names[j],
            ratio=ratio,
            x_smaller=x_smaller,
            x_larger=x_larger,
            y_smaller=y_smaller,
            y_larger=y_larger,
        )
        for i, j, x_smaller, x_larger, y_smaller, y_larger, ratio in rows
    ]


def concordance_by_contrast(
    x: Column,
    y: Column,
    edges: Sequence[float],
    *,
    clusters: Labels | None = None,
    strata: Labels | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    generator: torch.Generator | None = None,
) -> list[ContrastBin]:
    """Measure which fraction of pairs agrees, per range of the ratio of their x values.

    The paper says that "a greater contrast between AP values gives more confidence"; then the fraction rises
    from bin to bin. Pairs share cases, so intervals come from resampling cases or clusters, not from the number
    of pairs.

    Args:
        x: One non-negative value per case, for example an AP.
        y: One value per case, for example a PD.
        edges: Increasing ratios, from 1 on; each bin goes from one to below the next, the last includes its
            end, which may be infinite. Pairs outside, and pairs with equal x, are in no bin.
        clusters: As for ``concordance``.
        strata: As for ``concordance``.
        resamples: As for ``concordance``.
        confidence: As for ``concordance``.
        generator: As for ``concordance``.

    Returns:
        One bin per neighbouring pair of edges.

    Raises:
        DataError: If lengths, values, edges, resamples or confidence are impossible.
    """
    check_resampling(resamples, confidence)
    bounds = _checked_edges(edges)
    cases = _with_ratios(cases_of(x, y, clusters, strata))
    once = torch.ones(1, cases.count, dtype=torch.float64)
    bins = len(bounds) - 1
    agree, differ, untied = pair_sums(cases, once, partial(_all_relations, cases, bounds)).view(3, bins).tolist()
    few = cases.clustered and too_few(cases, confidence) is not None
    wanted = resamples if any(differ) and not few else 0
    drawn = _resampled(cases, bounds, wanted, generator or default_generator())
    return [
        _bin(cases, bounds, number, (agree[number], differ[number], untied[number]), drawn[number], confidence)
        for number in range(bins)
    ]


def _bin(
    cases: Cases, bounds: Tensor, number: int, sums: tuple[float, float, float], drawn: Tensor, confidence: float
) -> ContrastBin:
    agree, differ, untied = sums
    share = agree / differ if differ else None
    spread = _spread(cases, bounds, number, share, drawn, confidence)
    return ContrastBin(
        least=float(bounds[number]),
        below=float(bounds[number + 1]),
        pairs=round(differ),
        tied=round(untied - differ),
        concordant=share,
        lower=spread.lower,
        upper=spread.upper,
        confidence=confidence,
        interval=spread.kind,
        standard_error=spread.standard_error,
        undefined=spread.undefined,
        measurable=share is not None,
        reason=spread.reason,
    )


def _spread(cases: Cases, bounds: Tensor, number: int, share: float | None, drawn: Tensor, confidence: float) -> Spread:
    if share is None:
        return Spread(reason="no pair of cases that differ in both measures has such a ratio")
    if cases.clustered and (few := too_few(cases, confidence)) is not None:
        return Spread(reason=few)
    if len(drawn) == 0 or share not in (0.0, 1.0):
        return resampled_spread(cases, drawn, confidence)

    def differing(rows: slice) -> Tensor:
        x, y = cases.signs(rows)
        return (_bins(cases, bounds, rows) == number) & (x * y != 0)

    spread = unanimous_spread(cases, differing, confidence)
    assert spread.lower is not None
    return spread if share == 1.0 else msgspec.structs.replace(spread, lower=0.0, upper=1 - spread.lower)


def _resampled(cases: Cases, bounds: Tensor, resamples: int, generator: torch.Generator) -> Tensor:
    """Fraction of agreeing pairs in each bin of each resample, shape (bins, resamples); NaN where there is none."""
    bins = len(bounds) - 1
    shares = [torch.empty(bins, 0, dtype=torch.float64)]
    for weights in cases.weights(resamples, generator):
        agree, differ = pair_sums(cases, weights, partial(_relations, cases, bounds)).view(2, bins, -1)
        shares.append(agree / differ)
    return torch.cat(shares, dim=1)


def _discordant(cases: Cases) -> tuple[Tensor, Tensor]:
    """Indices (larger in x, smaller in x) of the pairs whose y is ordered the other way."""
    found = []
    for rows in blocks(cases.count):
        x, y = cases.signs(rows)
        found.append(((x > 0) & (y < 0)).nonzero() + torch.tensor([rows.start, 0]))
    larger, smaller = torch.cat(found).unbind(dim=1)
    return larger, smaller


def _with_ratios(cases: Cases) -> Cases:
    obstacle = missing(cases)
    if obstacle is not None:
        raise DataError(f"{obstacle}; leave out what was not measured")
    if (cases.x < 0).any():
        case = int((cases.x < 0).nonzero()[0])
        raise DataError(f"x is {float(cases.x[case])} in case {case}, expected no negative value: ratios are compared")
    return cases


def _checked_edges(edges: Sequence[float]) -> Tensor:
    bounds = torch.tensor(list(edges), dtype=torch.float64)
    if len(bounds) < 2 or not (bounds.diff() > 0).all() or bounds[0] < 1:
        raise DataError(f"edges are {list(edges)}, expected at least two increasing ratios from 1 on")
    return bounds


def _all_relations(cases: Cases, bounds: Tensor, rows: slice) -> list[Tensor]:
    """Matrices of which pairs agree in each bin, then which differ in both measures, then which differ in x."""
    x, y = cases.signs(rows)
    bins = _bins(cases, bounds, rows)
    inside = [((bins == number) & (x != 0)).to(torch.float32) for number in range(len(bounds) - 1)]
    return [*(m * (x * y > 0) for m in inside), *(m * (y != 0) for m in inside), *inside]


def _relations(cases: Cases, bounds: Tensor, rows: slice) -> list[Tensor]:
    return _all_relations(cases, bounds, rows)[: 2 * (len(bounds) - 1)]


def _bins(cases: Cases, bounds: Tensor, rows: slice) -> Tensor:
    """Bin of each pair's ratio, shape (rows, cases); outside 0 to bins - 1 when it is in none."""
    own, other = cases.x[rows, None], cases.x[None, :]
    # Two zeros give NaN, which bucketize puts after the last edge; they are tied in x anyway.
    ratios = torch.maximum(own, other) / torch.minimum(own, other)
    bins = torch.bucketize(ratios, bounds, right=True) - 1
    return torch.where(ratios == bounds[-1], len(bounds) - 2, bins)
