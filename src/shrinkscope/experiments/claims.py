"""The paper's claims about one study as numbers: where AP orders networks as PD does, and whether AP3 adds to AP2."""

import math
from collections.abc import Iterator

import msgspec
import pandas as pd

from shrinkscope.analysis.claims import PairedTau, holm
from shrinkscope.analysis.concordance import Concordance
from shrinkscope.analysis.contrast import ContrastBin, concordance_by_contrast
from shrinkscope.analysis.orders import Orders
from shrinkscope.experiments.agreement import aps_in, pruned_only, tables_of
from shrinkscope.experiments.conceded import Failure, conceded_failures

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


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``claims`` measures about one run.

    Attributes:
        concordance: Every AP with every PD, in every set of comparisons and epoch.
        contrasts: By the ratio of the APs, at the first and the last epoch.
        tests: Every AP3 against AP2 between the methods at one level, at the first and the last epoch.
        together: The same between all networks of a trial, where methods and levels both differ.
        effects: What each ingredient of an AP3 changes, between the methods at one level.
        failures: Those that the text concedes.
    """

    concordance: list[Claim]
    contrasts: list[Contrasts]
    tests: list[Test]
    together: list[Test]
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
    tables = tables_of(pruned)
    ends = {key: cases for key, cases in tables.items() if key[1] in (0, max(k[1] for k in tables))}
    against = [("AP3 against AP2", ap, "ap2") for ap in aps if ap != "ap2"]
    return Claims(
        concordance=[c for key, cases in tables.items() for c in _concordances(key, cases, aps, measured, key in ends)],
        contrasts=[
            Contrasts(scope=scope, ap=ap, pd=name, epoch=epoch, bins=_bins(cases, ap, name))
            for (scope, epoch), cases in ends.items()
            for ap in aps
            for name in measured
        ],
        # The paper compares methods at one level.
        tests=_tests(against, ends, measured, ["trial", "level"]),
        together=_tests(against, ends, measured, ["trial"]),
        effects=_tests([e for e in EFFECTS if set(e[1:]) <= present], ends, measured, ["trial", "level"]),
        failures=conceded_failures(tables, aps, measured),
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
        orders = _orders(rows, [*aps, *pds], ["trial"], strata)
        for ap in aps:
            for name in pds:
                found = orders.concordance(ap, name)
                yield Claim(
                    scope=key[0], ap=ap, pd=name, compared=compared, where=where, epoch=key[1], concordance=found
                )


def _orders(rows: pd.DataFrame, metrics: list[str], clusters: list[str] | None, strata: list[str]) -> Orders:
    columns = {name: rows[name].to_numpy() for name in metrics}
    labels = None if clusters is None else _labels(rows, clusters)
    return Orders(columns, clusters=labels, strata=_labels(rows, strata), resamples=RESAMPLES)


def _labels(rows: pd.DataFrame, columns: list[str]) -> list[tuple]:
    return list(zip(*(rows[column].tolist() for column in columns), strict=True))


def _bins(cases: pd.DataFrame, ap: str, name: str) -> list[ContrastBin]:
    there = cases.dropna(subset=[ap, name])
    trials = there["trial"].to_numpy()
    # A sampled divergence may come out below 0, which no ratio has: as far as it tells, the networks are the same.
    columns = there[ap].clip(lower=0).to_numpy(), there[name].to_numpy()
    return concordance_by_contrast(*columns, RATIOS, clusters=trials, strata=trials, resamples=RESAMPLES)


def _tests(
    questions: list[tuple[str, str, str]],
    ends: dict[tuple[str, int], pd.DataFrame],
    pds: list[str],
    within: list[str],
) -> list[Test]:
    """Paired tests of the networks that are alike in the columns ``within``."""
    metrics = list(dict.fromkeys(name for question in questions for name in question[1:])) + pds
    cells = {key: _orders(cases, metrics, None, within) for key, cases in ends.items()} if questions else {}
    trials = {key: _orders(cases, metrics, ["trial"], within) for key, cases in ends.items()} if questions else {}
    found = [
        Test(
            question=question,
            scope=scope,
            first=first,
            second=second,
            pd=name,
            epoch=epoch,
            over_cells=cells[scope, epoch].paired(first, second, name),
            over_trials=trials[scope, epoch].paired(first, second, name),
            p_adjusted=1.0,
        )
        for question, first, second in questions
        for scope, epoch in ends
        for name in pds
    ]
    for question in {test.question for test in found}:
        same = [i for i, test in enumerate(found) if test.question == question]
        for i, p in zip(same, holm([found[i].over_cells.signs.p for i in same]), strict=True):
            found[i] = msgspec.structs.replace(found[i], p_adjusted=p)
    return found
