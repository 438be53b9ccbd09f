"""Two APs held against one PD over several studies at once, where a single study has too few trials for an interval."""

from collections.abc import Sequence

import msgspec
import pandas as pd

from shrinkscope.analysis.claims import PairedTau, paired_tau
from shrinkscope.experiments.claims import RESAMPLES


class Pooled(msgspec.Struct, frozen=True, kw_only=True):
    """How much better one AP orders the networks of a trial than another, over all trials of several studies.

    Pairs are those of networks of one trial, of any two methods and levels.

    Attributes:
        first: Metric of one AP.
        second: Metric of the other.
        pd: Metric of the performance difference.
        studies: How many studies recorded all three.
        over_trials: The difference with an interval over the trials of all studies; the sign test counts trials.
        over_studies: The same with an interval over studies, whose trials share data and pre-trained layers.
    """

    first: str
    second: str
    pd: str
    studies: int
    over_trials: PairedTau
    over_studies: PairedTau


def pooled(tables: Sequence[pd.DataFrame], first: str, second: str, pd_metric: str) -> Pooled | None:
    """Hold two APs against a PD over several studies.

    Args:
        tables: Of each study the networks at one epoch, as ``cases_at`` gives them.
        first: Metric of one AP.
        second: Metric of the other.
        pd_metric: Metric of the performance difference.

    Returns:
        The difference over the studies that have all three of every network; None if there is none.
    """
    wanted = [first, second, pd_metric]
    complete = [
        table[["trial", *wanted]].assign(study=number)
        for number, table in enumerate(tables)
        if set(wanted) <= set(table.columns) and bool(table[wanted].notna().to_numpy().all())
    ]
    if not complete:
        return None
    cases = pd.concat(complete)
    studies, trials = cases["study"].tolist(), list(zip(cases["study"], cases["trial"], strict=True))
    over_trials, over_studies = (
        paired_tau(*(cases[name].to_numpy() for name in wanted), clusters=units, strata=trials, resamples=RESAMPLES)
        for units in (trials, studies)
    )
    return Pooled(
        first=first,
        second=second,
        pd=pd_metric,
        studies=len(complete),
        over_trials=over_trials,
        over_studies=over_studies,
    )
