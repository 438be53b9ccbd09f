"""What to know before reading anything into an AP3, with the numbers of the study at hand."""

import math

import pandas as pd
import torch

from shrinkscope.analysis.concordance import taus
from shrinkscope.analysis.pairs import cases_of
from shrinkscope.experiments.agreement import CASE, cases_at, pruned_only
from shrinkscope.experiments.records import NETWORK

PAPER_SAMPLES = 600_000
GROUPED = "ap3_student_t_grouped"
_SMALL = 0.01  # nats; below, the Student-t divergence is δ²/2 to within a few percent
_NAMES = {"ap3_gaussian": "AP3 Gaussian", "ap3_student_t": "AP3 Student-t"}


def insights(records: pd.DataFrame) -> list[str]:
    """What AP3 shares with AP2, what grouping does, and when a sampled estimate is noise, as far as it was recorded.

    Args:
        records: The long table of one run.

    Returns:
        Sentences; every number in them is computed from the records, except the paper's 600,000 samples.
    """
    pruned = pruned_only(records)
    found = [_ranking(pruned), _grouping(pruned), _noise(pruned)]
    return [sentence for sentence in found if sentence is not None]


def _ranking(pruned: pd.DataFrame) -> str | None:
    parts = []
    for scope, where in (("last", "where one layer is pruned"), ("all", "over all layers, each with its own scale")):
        cases = cases_at(pruned, scope, min(pruned["epoch"].tolist()))
        shared = [f"{name} {_order(cases, ap):+.3f}" for ap, name in _NAMES.items() if ap in cases]
        if len(cases) and shared:
            parts.append(f"{where}, {' and '.join(shared)}")
    if not parts:
        return None
    return (
        "For Σ = σ²I an AP3 is an increasing function of ‖Δ‖/σ, so with one σ it orders networks exactly as AP2 does; "
        f"Kendall's τ with AP2 just after pruning, within a trial: {'; '.join(parts)}."
    )


def _order(cases: pd.DataFrame, ap: str) -> float:
    pair = cases_of(cases["ap2"].to_numpy(), cases[ap].to_numpy(), strata=cases["trial"].to_numpy())
    return float(taus(pair, torch.ones(1, len(cases), dtype=torch.float64)))


def _grouping(pruned: pd.DataFrame) -> str | None:
    layers = pruned.query(f"layer != {NETWORK!r} and epoch == epoch.min()")
    wide = layers.pivot_table(index=["scope", *CASE, "layer"], columns="metric", values="value")
    if GROUPED not in wide or "ap2" not in wide:
        return None
    small = wide.query(f"0 < {GROUPED} < @_SMALL")
    if small.empty:
        return None
    # At identity scale δ² is AP2 before grouping, and twice a small divergence after it.
    shrinkage = small.eval(f"ap2 / (2 * {GROUPED})").groupby("layer").median()
    kept = ", ".join(f"{layer} {factor:.3g}" for layer, factor in shrinkage.items())
    return (
        "Averaging n weights into G groups shrinks δ² by about (n/G)² when the signs of Δ are random; here, median "
        f"over {len(small)} layers whose grouped divergence is below {_SMALL} nats, by a factor of: {kept}."
    )


def _noise(pruned: pd.DataFrame) -> str | None:
    grouped = pruned.query(f"metric == {GROUPED!r} and layer != {NETWORK!r} and value > 0")["value"].tolist()
    if not grouped:
        return None
    # The log-ratio of two nearby densities has variance 2·KL, hence this standard error of its mean.
    resolved = 9 * 2 / PAPER_SAMPLES
    lost, smallest = sum(value < resolved for value in grouped), min(grouped)
    error = math.sqrt(2 * smallest / PAPER_SAMPLES)
    return (
        f"Estimated from {PAPER_SAMPLES:,} samples, as the paper does, a small AP3 has a standard error of about "
        f"√(2·AP3/{PAPER_SAMPLES:,}): {lost} of the {len(grouped):,} grouped values recorded here would lie within "
        f"three of theirs (the smallest, {smallest:.2g} nats, has {error:.2g}); the exact values shown have none."
    )
