"""How far AP and PD order the networks of a study alike: Kendall's τ for every AP, scope and epoch."""

from collections.abc import Iterator

import msgspec
import pandas as pd
import torch

from shrinkscope.analysis.concordance import Concordance, concordance, taus
from shrinkscope.analysis.pairs import cases_of
from shrinkscope.experiments.records import DENSE, NETWORK
from shrinkscope.performance.bootstrap import default_generator, percentile_interval

CASE = ["trial", "method", "level"]
RESAMPLES = 2000


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Concordance of one AP with one PD over the pruned networks of one scope at one epoch.

    Attributes:
        scope: ``last`` or ``all``.
        epoch: Epoch of fine-tuning; 0 is just pruned.
        ap: Metric of the AP, for example ``ap3_gaussian``.
        pd: Metric of the performance difference, for example ``pd_loss_test``.
        concordance: τ with its bootstrap interval over the networks; pairs are compared within a trial only, because
            the networks of one trial share the dense network that they are measured against.
    """

    scope: str
    epoch: int
    ap: str
    pd: str
    concordance: Concordance


class Advantage(msgspec.Struct, frozen=True, kw_only=True):
    """How much better one AP orders the networks than another, on the same resamples.

    Attributes:
        scope: ``last`` or ``all``.
        ap: The AP.
        baseline: The AP that it is held against.
        difference: τ of the AP minus τ of the baseline.
        lower, upper: Ends of the bootstrap interval of the difference.
        confidence: Probability that the interval aims at.
    """

    scope: str
    ap: str
    baseline: str
    difference: float
    lower: float
    upper: float
    confidence: float


def cases_at(records: pd.DataFrame, scope: str, epoch: int) -> pd.DataFrame:
    """The pruned networks of one scope at one epoch, a row each, a column a metric of the whole network.

    Args:
        records: The long table of one run.
        scope: ``last`` or ``all``.
        epoch: Epoch of fine-tuning.

    Returns:
        Columns trial, method, level and the metrics, in a fixed order.
    """
    chosen = (records["scope"] == scope) & (records["epoch"] == epoch) & (records["layer"] == NETWORK)
    network = records[chosen & (records["method"] != DENSE)]
    return network.pivot_table(index=CASE, columns="metric", values="value", dropna=False, sort=True).reset_index()


def tables_of(records: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """``cases_at`` of every scope and epoch, in one pass.

    Args:
        records: The long table of one run.

    Returns:
        (scope, epoch) → the networks; scopes in the order of the records, epochs ascending.
    """
    network = pruned_only(records.loc[records["layer"] == NETWORK])
    wide = network.set_index(["scope", "epoch", *CASE, "metric"])["value"].unstack("metric")
    found = {}
    for scope in network["scope"].drop_duplicates().tolist():
        for epoch, rows in wide.xs(scope, level="scope").groupby(level="epoch"):
            cells = rows.droplevel("epoch")
            # A cell of the grid that is not there is a row without numbers, not a smaller grid.
            grid = pd.MultiIndex.from_product([sorted(set(cells.index.get_level_values(name))) for name in CASE])
            found[scope, int(str(epoch))] = cells.reindex(grid.set_names(CASE)).reset_index()
    return found


def pruned_only(records: pd.DataFrame) -> pd.DataFrame:
    """The records of the pruned networks, without those of the dense ones."""
    return records.query(f"method != {DENSE!r}")


def aps_in(records: pd.DataFrame) -> list[str]:
    """The APs that a study recorded, in its order: AP2 first."""
    metrics = records["metric"].drop_duplicates()
    return [metric for metric in metrics if metric.startswith(("ap2", "relative_ap2", "ap3_"))]


def agreements(records: pd.DataFrame, pds: tuple[str, ...] = ("pd_loss_test", "pd_accuracy_test")) -> list[Agreement]:
    """Concordance of every AP with PD, for every scope, before fine-tuning and after it.

    Args:
        records: The long table of one run.
        pds: The performance differences to hold the APs against.

    Returns:
        One agreement for each scope, epoch (first and last), PD and AP.
    """
    return list(_agreements(records, pds))


def _agreements(records: pd.DataFrame, pds: tuple[str, ...]) -> Iterator[Agreement]:
    pruned = pruned_only(records)
    for scope in pruned["scope"].drop_duplicates().tolist():
        for epoch in sorted({0, max(pruned["epoch"].tolist())}):
            cases = cases_at(records, scope, epoch)
            for pd_metric in pds:
                for ap in aps_in(records):
                    yield Agreement(
                        scope=scope, epoch=epoch, ap=ap, pd=pd_metric, concordance=_tau(cases, ap, pd_metric)
                    )


def _tau(cases: pd.DataFrame, ap: str, pd_metric: str) -> Concordance:
    trials = cases["trial"].to_numpy()
    return concordance(cases[ap].to_numpy(), cases[pd_metric].to_numpy(), strata=trials, resamples=RESAMPLES)


def within_methods(cases: pd.DataFrame, ap: str, pd_metric: str) -> dict[str, Concordance]:
    """Concordance over the levels of each pruning method by itself, trial by trial.

    Args:
        cases: Networks as ``cases_at`` gives them.
        ap: Metric of the AP.
        pd_metric: Metric of the performance difference.

    Returns:
        Method → concordance, without an interval: a trial has only as many cases as there are levels.
    """
    return {
        str(method): concordance(
            rows[ap].to_numpy(), rows[pd_metric].to_numpy(), strata=rows["trial"].to_numpy(), resamples=0
        )
        for method, rows in cases.groupby("method", sort=False)
    }


def advantage(
    cases: pd.DataFrame, scope: str, ap: str, baseline: str, pd_metric: str, confidence: float
) -> Advantage | None:
    """How much better an AP orders the networks than another does, with a paired bootstrap interval.

    Args:
        cases: Networks as ``cases_at`` gives them.
        scope: Their scope.
        ap: The AP.
        baseline: The AP to hold it against.
        pd_metric: What both are to order.
        confidence: Probability that the interval aims at.

    Returns:
        The difference of the two τ, both on the same resamples; None when either does not exist.
    """
    strata, measured = cases["trial"].to_numpy(), cases[pd_metric].to_numpy()
    pair = [cases_of(cases[name].to_numpy(), measured, strata=strata) for name in (ap, baseline)]
    once = torch.ones(1, len(cases), dtype=torch.float64)
    point = float(taus(pair[0], once) - taus(pair[1], once))
    drawn = torch.cat([taus(pair[0], w) - taus(pair[1], w) for w in pair[0].weights(RESAMPLES, default_generator())])
    drawn = drawn[drawn.isfinite()]
    if point != point or len(drawn) < RESAMPLES // 2:
        return None
    lower, upper = percentile_interval(drawn, confidence)
    return Advantage(
        scope=scope, ap=ap, baseline=baseline, difference=point, lower=lower, upper=upper, confidence=confidence
    )
