"""The paper's claims about one study as numbers: where AP orders networks as PD does, and whether AP3 adds to AP2."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pandas as pd

from shrinkscope.analysis.claims import PairedTau, holm, paired_tau
from shrinkscope.analysis.concordance import Concordance, concordance
from shrinkscope.analysis.contrast import ContrastBin, concordance_by_contrast
from shrinkscope.experiments.agreement import aps_in, cases_at, pruned_only

PDS = ("pd_accuracy_test", "pd_accuracy_train", "pd_loss_test", "pd_loss_train")
RATIOS = (1.0, 1.5, 2.0, 4.0, 10.0, math.inf)
RESAMPLES = 1000
# The APs whose comparison isolates one ingredient: what it is, with it, without it.
EFFECTS = (
    ("grouping", "ap3_student_t_grouped", "ap3_student_t"),
    ("grouping, rotated Gaussian", "ap3_gaussian_rotated_grouped", "ap3_gaussian_rotated"),
    ("Σ (unequal eigenvalues, rotated)", "ap3_gaussian_rotated", "ap3_gaussian"),
    ("Σ and grouping together", "ap3_gaussian_rotated_grouped", "ap3_gaussian"),
    ("sampling noise", "ap3_student_t_sampled", "ap3_student_t_grouped"),
)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Concordance of one AP with one PD in one set of comparisons.

    Attributes:
        scope: Part of the network that was pruned.
        ap: Metric of the AP.
        pd: Metric of the performance difference.
        compared: ``methods`` at one level, ``levels`` of one method, or ``all`` networks of a trial.
        where: The level or the method; empty for all of them together.
        epoch: Epoch of fine-tuning.
        concordance: τ within a trial, with a bootstrap interval over trials.
    """

    scope: str
    ap: str
    pd: str
    compared: str
    where: str
    epoch: int
    concordance: Concordance


class Contrasts(msgspec.Struct, frozen=True, kw_only=True):
    """Share of pairs that one AP orders as one PD does, by the ratio of the two AP values."""

    scope: str
    ap: str
    pd: str
    epoch: int
    bins: list[ContrastBin]


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """Two APs held against one PD; the null hypothesis is that both order the networks equally well.

    Attributes:
        question: What the comparison answers.
        scope: Part of the network that was pruned.
        first: Metric of one AP.
        second: Metric of the other.
        pd: Metric of the performance difference.
        epoch: Epoch of fine-tuning.
        over_cells: The difference with an interval over networks; the sign test counts trials × levels.
        over_trials: The same with an interval over trials.
        p_adjusted: p of the sign test, by Holm's step over all comparisons with the same question.
    """

    question: str
    scope: str
    first: str
    second: str
    pd: str
    epoch: int
    over_cells: PairedTau
    over_trials: PairedTau
    p_adjusted: float


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A failure that the paper concedes, looked for in one study.

    Attributes:
        claim: What the text says.
        scope: Part of the network that was pruned.
        ap: Metric of the AP.
        pd: Metric of the performance difference.
        pairs: Pairs of networks (a trial and an epoch each) that bear on it and differ in both measures.
        discordant: How many of them AP and PD order differently.
        found: Whether there is such a pair; None without a pair.
    """

    claim: str
    scope: str
    ap: str
    pd: str
    pairs: int
    discordant: int
    found: bool | None


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``claims`` measures about one run."""

    concordance: list[Claim]
    contrasts: list[Contrasts]
    tests: list[Test]
    effects: list[Test]
    failures: list[Failure]


def claims(records: pd.DataFrame, pds: tuple[str, ...] = PDS) -> Claims:
    """Put the paper's claims about one study in numbers.

    Args:
        records: The long table of one run.
        pds: Performance differences to hold the APs against, as far as they were recorded.

    Returns:
        Concordance by method, level and epoch; concordance by contrast and the tests at the first and last epochs; the
        failures that the text concedes. A p value speaks of one study: its networks share data and, within a trial,
        the dense network, so intervals over a handful of trials are rough.
    """
    pruned = pruned_only(records)
    pruned = pruned.loc[pruned["layer"] == ""]
    present = set(pruned["metric"])
    measured = [name for name in pds if name in present]
    aps = [name for name in aps_in(pruned) if name != "relative_ap2"]
    tables = {
        (scope, epoch): cases_at(pruned, scope, epoch)
        for scope in pruned["scope"].drop_duplicates().tolist()
        for epoch in sorted(set(pruned.loc[pruned["scope"] == scope, "epoch"].tolist()))
    }
    ends = {key: cases for key, cases in tables.items() if key[1] in (0, max(k[1] for k in tables))}
    return Claims(
        concordance=[c for key, cases in tables.items() for c in _concordances(key, cases, aps, measured, key in ends)],
        contrasts=[
            Contrasts(scope=scope, ap=ap, pd=name, epoch=epoch, bins=_bins(cases, ap, name))
            for (scope, epoch), cases in ends.items()
            for ap in aps
            for name in measured
        ],
        tests=_tests([("AP3 against AP2", ap, "ap2") for ap in aps if ap != "ap2"], ends, measured),
        effects=_tests([effect for effect in EFFECTS if set(effect[1:]) <= present], ends, measured),
        failures=[f for ap in aps for name in measured for f in _failures(tables, ap, name)],
    )


def _concordances(
    key: tuple[str, int], cases: pd.DataFrame, aps: list[str], pds: list[str], detailed: bool
) -> Iterator[Claim]:
    sets = [("all", "", cases, ["trial"]), ("methods", "", cases, ["trial", "level"])]
    sets.append(("levels", "", cases, ["trial", "method"]))
    if detailed:
        sets += [("methods", f"{100 * float(str(v)):g} %", rows, ["trial"]) for v, rows in cases.groupby("level")]
        sets += [("levels", str(method), rows, ["trial"]) for method, rows in cases.groupby("method", sort=False)]
    for compared, where, rows, strata in sets:
        trials = rows["trial"].to_numpy()
        for ap in aps:
            for name in pds:
                found = concordance(
                    rows[ap].to_numpy(),
                    rows[name].to_numpy(),
                    clusters=trials,
                    strata=_labels(rows, strata),
                    resamples=RESAMPLES,
                )
                yield Claim(
                    scope=key[0], ap=ap, pd=name, compared=compared, where=where, epoch=key[1], concordance=found
                )


def _labels(rows: pd.DataFrame, columns: list[str]) -> list[tuple]:
    return list(rows[columns].itertuples(index=False, name=None))


def _bins(cases: pd.DataFrame, ap: str, name: str) -> list[ContrastBin]:
    there = cases.dropna(subset=[ap, name])
    trials = there["trial"].to_numpy()
    # A sampled divergence may come out below 0, which no ratio has: as far as it tells, the networks are the same.
    columns = there[ap].clip(lower=0).to_numpy(), there[name].to_numpy()
    return concordance_by_contrast(*columns, RATIOS, clusters=trials, strata=trials, resamples=RESAMPLES)


def _tests(
    questions: list[tuple[str, str, str]], ends: dict[tuple[str, int], pd.DataFrame], pds: list[str]
) -> list[Test]:
    found = [
        Test(
            question=question,
            scope=scope,
            first=first,
            second=second,
            pd=name,
            epoch=epoch,
            over_cells=_paired(cases, first, second, name, None),
            over_trials=_paired(cases, first, second, name, "trial"),
            p_adjusted=1.0,
        )
        for question, first, second in questions
        for (scope, epoch), cases in ends.items()
        for name in pds
    ]
    for question in {test.question for test in found}:
        same = [i for i, test in enumerate(found) if test.question == question]
        for i, p in zip(same, holm([found[i].over_cells.signs.p for i in same]), strict=True):
            found[i] = msgspec.structs.replace(found[i], p_adjusted=p)
    return found


def _paired(cases: pd.DataFrame, first: str, second: str, name: str, clusters: str | None) -> PairedTau:
    return paired_tau(
        cases[first].to_numpy(),
        cases[second].to_numpy(),
        cases[name].to_numpy(),
        clusters=None if clusters is None else cases[clusters].to_numpy(),
        strata=_labels(cases, ["trial", "level"]),  # the paper compares methods at one level
        resamples=RESAMPLES,
    )


_LOWEST = "lowest magnitude, 30 % and 50 %: AP and PD disagree (figure 2)"
_HIGHEST = "highest magnitude, 80 %: AP and PD disagree with the other methods (figures 14 to 17)"


def _failures(tables: dict[tuple[str, int], pd.DataFrame], ap: str, name: str) -> Iterator[Failure]:
    for scope in dict.fromkeys(key[0] for key in tables):
        fine_tuned = [cases for key, cases in tables.items() if key[0] == scope]
        chosen = [(_LOWEST, _two_levels), (_HIGHEST, _harshest)]
        for claim, select in chosen:
            pairs = [pair for cases in fine_tuned for pair in select(cases, ap, name)]
            differing = [(a, b) for a, b in pairs if a * b != 0 and math.isfinite(a * b)]
            wrong = sum((a > 0) != (b > 0) for a, b in differing)
            yield Failure(
                claim=claim,
                scope=scope,
                ap=ap,
                pd=name,
                pairs=len(differing),
                discordant=wrong,
                found=wrong > 0 if differing else None,
            )


def _two_levels(cases: pd.DataFrame, ap: str, name: str) -> Iterator[tuple[float, float]]:
    """Signs of the differences in AP and PD between 50 % and 30 % of the lowest magnitudes removed, a pair a trial."""
    lowest = cases[cases["method"] == "lowest"].set_index(["trial", "level"])
    for trial in cases["trial"].drop_duplicates():
        if {(trial, 0.3), (trial, 0.5)} <= set(lowest.index):
            yield _signs(lowest.loc[(trial, 0.5)], lowest.loc[(trial, 0.3)], ap, name)


def _harshest(cases: pd.DataFrame, ap: str, name: str) -> Iterator[tuple[float, float]]:
    """Signs of the differences between "highest" and every other method at 80 %, a pair a trial and method."""
    rows = cases[cases["level"] == 0.8].set_index(["trial", "method"])
    for trial, method in rows.index:
        if method != "highest" and (trial, "highest") in rows.index:
            yield _signs(rows.loc[(trial, "highest")], rows.loc[(trial, method)], ap, name)


def _signs(one: Any, other: Any, ap: str, name: str) -> tuple[float, float]:
    def sign(metric: str) -> float:
        a, b = float(one[metric]), float(other[metric])
        return math.nan if math.isnan(a) or math.isnan(b) else float(a > b) - float(a < b)

    return sign(ap), sign(name)
