"""What orders pruned networks without looking at how far their weights moved: what an AP has to beat."""

import math

import pandas as pd

from shrinkscope.experiments.agreement import CASE

# The paper's own expectation, and that of anyone who prunes: the larger the weights that go, the worse.
_ORDER = {"lowest": 0.0, "random": 1.0, "highest": 2.0}

BASELINES = {
    "order_of_methods": "lowest < random < highest, always",
    "ap2_before": "AP2 before fine-tuning",
    "pd_loss_labelled": "PD in loss on training images (needs labels)",
}


def with_baselines(cases: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Networks at one epoch with a column for each of ``BASELINES``.

    Args:
        cases: Networks as ``cases_at`` gives them.
        before: The same networks before fine-tuning.

    Returns:
        A new table, its rows in the order of ``cases``.
    """
    first = dict(zip(_keys(before), before["ap2"].tolist(), strict=True))
    return cases.assign(
        order_of_methods=[_ORDER.get(str(method), math.nan) for method in cases["method"]],
        ap2_before=[first.get(key, math.nan) for key in _keys(cases)],
        pd_loss_labelled=cases.get("pd_loss_train", math.nan),
    )


def _keys(cases: pd.DataFrame) -> list[tuple]:
    return list(cases[CASE].itertuples(index=False, name=None))
