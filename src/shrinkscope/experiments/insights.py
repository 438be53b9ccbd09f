"""What to know before reading anything into an AP3, with the numbers of the study at hand."""

import math

import numpy as np
import pandas as pd
import torch

from shrinkscope.analysis.concordance import taus
from shrinkscope.analysis.pairs import cases_of
from shrinkscope.experiments.agreement import CASE, cases_at, pruned_only
from shrinkscope.experiments.iterations import BOUND, DEFINITION, THEOREM
from shrinkscope.experiments.records import NETWORK

PAPER_SAMPLES = 600_000
GROUPED = "ap3_student_t_grouped"
_SMALL = 0.01  # nats; below, the Student-t divergence is δ²/2 to within a few percent
_MEASURED = "pd_loss_train"
_NAMES = {"ap3_gaussian": "AP3 Gaussian", "ap3_student_t": "AP3 Student-t"}


def insights(records: pd.DataFrame) -> list[str]:
    """What AP3 shares with AP2, what grouping and sampling do, what ε is in fine-tuning, as far as it was recorded.

    Args:
        records: The long table of one run.

    Returns:
        Sentences; every number in them is computed from the records, except the paper's 600,000 samples.
    """
    pruned = pruned_only(records)
    found = [_ranking(pruned), _grouping(pruned), _noise(pruned), _approximately(pruned), _bound(pruned)]
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


def _approximately(pruned: pd.DataFrame) -> str | None:
    """What the two quantities that the paper calls ε_t are at the end of fine-tuning."""
    latent = _first_latent(pruned, DEFINITION)
    if latent is None:
        return None
    definition, theorem, ap3 = DEFINITION + latent, THEOREM + latent, f"ap3_{latent}"
    wide = _of_network(pruned, [definition, theorem, ap3])
    epochs = sorted(set(wide.index.get_level_values("epoch")))
    begin, end = (wide.query(f"epoch == {epoch}").droplevel("epoch") for epoch in (epochs[0], epochs[-1]))
    before, after = begin[theorem].reindex(end.index).to_numpy(), end[theorem].to_numpy()
    zeros, same = (end[definition].to_numpy() == 0).sum(), (after == end[ap3].to_numpy()).sum()
    return (
        f"“Approximately AP3” means two things ({_NAMES.get(ap3, ap3)}): after the last of {epochs[-1]} epochs ε of "
        f"Definition 2.7 is 0 in {zeros} of {len(end)} networks, by construction, from a median of "
        f"{np.median(begin[definition].to_numpy()):.3g} nats just after pruning; ε of Theorem 3.6 is AP3 itself in "
        f"{same} of {len(end)}, since a divergence from the end to the end is 0: {after.min():.3g} to "
        f"{after.max():.3g} nats, median {np.median(after):.3g}. There it is small only where AP3 is: over fine-tuning "
        f"it fell in {(after < before).sum()} of {len(end)} networks."
    )


_TRAINED = {
    "bound": "in which the last layer alone was trained, where it is certified",
    "estimate": "in which all layers were trained, with the largest curvature found along the way, which certifies "
    "nothing",
}


def _bound(pruned: pd.DataFrame) -> str | None:
    """How far the corrected bound of Theorem 3.6 lies above the measured difference."""
    latent = _first_latent(pruned, BOUND)
    if latent is None:
        return None
    wide = _of_network(pruned, [BOUND + latent, _MEASURED])
    marked = pruned[(pruned["layer"] == NETWORK) & (pruned["metric"] == BOUND + latent)]
    status = marked.set_index(["scope", *CASE, "epoch"])["status"].reindex(wide.index)
    wide = wide.assign(status=status)
    parts = [_looseness(wide.query(f"status == {kind!r}"), latent, where) for kind, where in _TRAINED.items()]
    found = "; ".join(part for part in parts if part)
    if not found:
        return None
    name = _NAMES.get(f"ap3_{latent}", latent)
    return f"The corrected bound of Theorem 3.6 on the difference in training loss ({name}) held {found}."


def _looseness(wide: pd.DataFrame, latent: str, where: str) -> str | None:
    if wide.empty:
        return None
    bound, measured = wide[BOUND + latent].to_numpy(), wide[_MEASURED].to_numpy()
    ratio = np.divide(bound, measured, out=np.full(len(bound), np.inf), where=measured != 0)
    networks = len(wide.index.droplevel("epoch").unique())
    return (
        f"at {(bound >= measured).sum()} of {len(wide)} epochs of the {networks} networks {where}, and is in median "
        f"{np.median(ratio):,.0f} times the measured difference ({ratio.min():,.0f} to {ratio.max():,.0f} times)"
    )


def _first_latent(pruned: pd.DataFrame, beginning: str) -> str | None:
    """The first latent for which such a metric of the whole network was measured."""
    there = pruned[(pruned["layer"] == NETWORK) & pruned["value"].notna()]
    metrics = dict.fromkeys(there["metric"])  # each once, in the order of the study
    return next((metric.removeprefix(beginning) for metric in metrics if metric.startswith(beginning)), None)


def _of_network(pruned: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Metrics of the networks, a row an epoch of each, where all of them were measured."""
    chosen = pruned[(pruned["layer"] == NETWORK) & pruned["metric"].isin(metrics)]
    return chosen.pivot_table(index=["scope", *CASE, "epoch"], columns="metric", values="value").dropna()
