"""Three sentences that say what the numbers of a study mean, computed from the numbers."""

from collections.abc import Sequence

import pandas as pd

from shrinkscope.analysis.contrast import DiscordantPair, discordant_pairs
from shrinkscope.experiments.agreement import Advantage, Agreement, advantage, aps_in, cases_at, within_methods
from shrinkscope.experiments.records import DENSE

CONFIDENCE = 0.95
PD = "pd_loss_test"
_SCOPES = {"all": "all layers pruned", "last": "last layer pruned"}
_APS = {
    "ap2": "AP2",
    "relative_ap2": "relative AP2",
    "ap3_gaussian": "AP3 Gaussian",
    "ap3_gaussian_rotated": "AP3 rotated Gaussian",
    "ap3_gaussian_rotated_grouped": "AP3 rotated Gaussian on group means",
    "ap3_student_t": "AP3 Student-t",
    "ap3_student_t_grouped": "AP3 Student-t grouped",
}


def conclusions(records: pd.DataFrame, found: Sequence[Agreement]) -> tuple[str, str, str]:
    """How far AP foretells PD in this study, where it fails, and whether any AP3 beats AP2.

    Args:
        records: The long table of one run.
        found: Its agreements.

    Returns:
        Three sentences; every number in them comes from the records.
    """
    last = max(agreement.epoch for agreement in found)
    final = [agreement for agreement in found if agreement.epoch == last and agreement.pd == PD]
    return _concordance(final, last), _failures(records, final, last), _verdict(records, last)


def _concordance(final: Sequence[Agreement], epoch: int) -> str:
    when = f"After {epoch} epochs of fine-tuning" if epoch else "Just after pruning"
    parts = []
    for scope in dict.fromkeys(agreement.scope for agreement in final):
        # APs of one value share a clause: most of them order the networks alike, and a list of twelve says so badly.
        names: dict[str, list[str]] = {}
        for agreement in final:
            if agreement.scope == scope:
                names.setdefault(_tau(agreement), []).append(_APS.get(agreement.ap, agreement.ap))
        taus = "; ".join(f"{tau} for {', '.join(aps)}" for tau, aps in names.items())
        parts.append(f"with {_SCOPES.get(scope, scope)}: {taus}")
    cases = max((agreement.concordance.cases for agreement in final), default=0)
    return (
        f"{when}, Kendall's τ between AP and the held-out loss difference over {cases} pruned networks, compared "
        f"within a trial (95 % bootstrap interval), is, {', and '.join(parts)}."
    )


def _tau(agreement: Agreement) -> str:
    tau = agreement.concordance
    if tau.tau is None:
        return f"not measurable ({tau.reason})"
    if tau.lower is None or tau.upper is None:
        return f"{_signed(tau.tau)} (no interval: {tau.reason})"
    return f"{_signed(tau.tau)} [{_signed(tau.lower)}, {_signed(tau.upper)}]"


def _failures(records: pd.DataFrame, final: Sequence[Agreement], epoch: int) -> str:
    if all(agreement.concordance.tau is None for agreement in final if agreement.ap == "ap2"):
        return "Where it fails cannot be told: AP2 or the loss difference is missing, or the same for all networks."
    weakest = _weakest(records, final, epoch)
    contradiction = _contradiction(records, final, epoch)
    if contradiction is None:
        return (
            "It fails nowhere here: no two networks of a trial are ordered differently by AP2 and the loss difference."
        )
    scope, pair = contradiction
    ratio = "∞" if pair.ratio == float("inf") else f"{pair.ratio:.3g}"
    return (
        f"It fails{weakest}; the starkest contradiction ({_SCOPES.get(scope, scope)}): {pair.smaller} has an AP2 "
        f"{ratio} times smaller than {pair.larger}, but the larger loss difference "
        f"({pair.y_smaller:.3g} against {pair.y_larger:.3g} nats)."
    )


def _weakest(records: pd.DataFrame, final: Sequence[Agreement], epoch: int) -> str:
    """The method within which the order of the levels is foretold worst by AP2, in words."""
    found = [
        (tau.tau, scope, method)
        for scope in dict.fromkeys(agreement.scope for agreement in final)
        for method, tau in within_methods(cases_at(records, scope, epoch), "ap2", PD).items()
        if tau.tau is not None
    ]
    if not found:
        return ""
    tau, scope, method = min(found)
    where = _SCOPES.get(scope, scope)
    return f" most over the levels of {method} pruning, {where} (τ of AP2 {_signed(tau)})"


def _contradiction(records: pd.DataFrame, final: Sequence[Agreement], epoch: int) -> tuple[str, DiscordantPair] | None:
    starkest: tuple[str, DiscordantPair] | None = None
    for scope in dict.fromkeys(agreement.scope for agreement in final):
        cases = cases_at(records, scope, epoch).dropna(subset=["ap2", PD])
        labels = [
            f"{method} {100 * level:g} % of trial {trial}"
            for trial, method, level in zip(cases["trial"], cases["method"], cases["level"], strict=True)
        ]
        pairs = discordant_pairs(
            cases["ap2"].to_numpy(), cases[PD].to_numpy(), labels, strata=cases["trial"].to_numpy(), limit=1
        )
        if pairs and (starkest is None or pairs[0].ratio > starkest[1].ratio):
            starkest = scope, pairs[0]
    return starkest


def _verdict(records: pd.DataFrame, epoch: int) -> str:
    pruned = records.loc[records["method"] != DENSE, "scope"].drop_duplicates()
    candidates = [ap for ap in aps_in(records) if ap.startswith("ap3_")]
    # As many comparisons as there are AP3s and scopes: each interval is widened so that all hold together.
    each = 1.0 - (1.0 - CONFIDENCE) / max(1, len(candidates) * len(pruned))
    found = [
        advance
        for scope in pruned
        for ap in candidates
        if (advance := advantage(cases_at(records, scope, epoch), scope, ap, "ap2", PD, each)) is not None
    ]
    if not found:
        return "Whether an AP3 foretells more than AP2 cannot be told: one of them is not measurable here."
    better = [advance for advance in found if advance.lower > 0]
    worse = [advance for advance in found if advance.upper < 0]
    if better or worse:
        return f"Held against AP2 on the same networks, {_in_words(better, worse)}."
    closest = max(found, key=lambda advance: advance.difference)
    return (
        f"No AP3 is told apart from AP2 on these networks (largest difference in τ {_advance(closest)}): a latent that "
        "knows nothing but the weights adds nothing that can be seen here."
    )


def _in_words(better: Sequence[Advantage], worse: Sequence[Advantage]) -> str:
    parts = []
    if better:
        parts.append(f"better order: {'; '.join(map(_advance, better))}")
    if worse:
        parts.append(f"worse order: {'; '.join(map(_advance, worse))}")
    rest = "" if better else "; none is better"
    return ", ".join(parts) + rest


def _advance(found: Advantage) -> str:
    return (
        f"{_APS.get(found.ap, found.ap)} with {_SCOPES.get(found.scope, found.scope)} "
        f"{_signed(found.difference)} [{_signed(found.lower)}, {_signed(found.upper)}]"
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
