"""A scan in a few lines of plain text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shrinkscope.analysis.scan.result import Scan

_NAMED = 3
_ROUNDING = 1e-12  # nats: scores of size 20 in float32, 6e-8 of them off, diverge by half the square of that


def scan_in_words(scan: "Scan") -> str:
    """What was found, what could not be measured, and what it took.

    Args:
        scan: The scan.
    """
    return "\n".join([_what(scan), *_found(scan), *_missing(scan), *cost_in_words(scan), *scan.notes])


def _what(scan: "Scan") -> str:
    layers = len({row.layer for row in scan.rows})
    settings = scan.settings
    on = [f"{settings.inputs:,} inputs"] if settings.inputs else []
    on += [f"{settings.samples:,} labelled samples"] if settings.samples else []
    seen = f", measured on {' and '.join(on)}" if on else ", weights alone"
    return f"{settings.model}: {layers} layers, {', '.join(settings.methods)}: {len(scan.rows)} candidates{seen}."


def _found(scan: "Scan") -> list[str]:
    by = scan.damage
    ranking = scan.ranking().dropna(subset=["score"])
    if ranking.empty:
        return ["No candidate was measured."]
    names = list(ranking["layer"])
    worst = scan.top(1).iloc[0]
    least = names[max(_NAMED, len(names) - _NAMED) :][::-1]  # of few layers, none is named twice
    rest = f"; least: {', '.join(least)}" if least else ""
    rounding = (
        ["That is rounding: on these inputs no candidate changes the predictions, and the order says nothing."]
        if by == "predictive_kl" and worst[by] < _ROUNDING
        else []
    )
    return [
        f"Most sensitive: {', '.join(names[:_NAMED])}{rest} (mean rank by {by}).",
        f"Largest damage: {worst['layer']}, {worst['description']}: {by} {worst[by]:.3g}{_unit(scan, by)}.",
        *rounding,
    ]


def _unit(scan: "Scan", by: str) -> str:
    """The unit of a divergence of predictions, with a blank before; nothing for other columns."""
    found = next((row.predictive_kl for row in scan.rows if row.predictive_kl is not None), None)
    return f" {found.unit}" if found is not None and by == "predictive_kl" else ""


def _missing(scan: "Scan") -> list[str]:
    reasons: dict[str, int] = {}
    for row in scan.rows:
        if not row.measurable:
            reason = (row.reason or "").partition(":")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
    return [f"Not measured: {count} ({reason})." for reason, count in reasons.items()]


def cost_in_words(scan: "Scan") -> list[str]:
    """What the scan took, and why it took that.

    Args:
        scan: The scan.
    """
    cost = scan.cost
    if not scan.settings.inputs and not scan.settings.samples:
        return [f"Cost: {cost.seconds:.1f} s, no forward pass."]
    text = (
        f"Cost: {cost.seconds:.1f} s, {cost.forward_equivalents:.1f} forward-equivalents for {cost.forwards} candidates"
    )
    text += f", {cost.batched} of them several in a pass" if cost.batched else ""
    text += f", {cost.from_cache} rows from the cache" if cost.from_cache else ""
    text += f", {cost.not_run} not run" if cost.not_run else ""
    if cost.prefix_cached:
        alone = [f"Candidates of a layer went one by one: {cost.apart}."] if cost.apart else []
        return [f"{text}; activations held: {cost.held / 2**20:.0f} MiB.", *alone]
    return [f"{text}; whole forward passes, because {cost.reason}."]
