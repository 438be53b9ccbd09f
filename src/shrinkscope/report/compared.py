"""A comparison or an explanation in tables and sentences: performance, bounds, and what could not be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shrinkscope.analysis.wording import at_most_points
from shrinkscope.report.format import number, printable, with_error
from shrinkscope.report.sheet import Cell, Column, Sheet, quantity_cell, value, whole, words

if TYPE_CHECKING:
    from shrinkscope.analysis import Comparison, Explanation
    from shrinkscope.analysis.predictive import Predictive
    from shrinkscope.performance import PerformanceDifference
    from shrinkscope.theory import Bound

_EXAMPLES = 3  # layers named for each reason; a network has dozens of batch counters that share theirs


def performance_sheet(explanation: Explanation) -> Sheet:
    """Make the table of performance before and after: a row for each split and metric."""
    rows = [
        _performance_row(split, difference)
        for split, metrics in explanation.performance.items()
        for difference in metrics.values()
    ]
    confidences = {d.confidence for metrics in explanation.performance.values() for d in metrics.values()}
    interval = f"{confidences.pop():.0%} interval" if len(confidences) == 1 else "interval"
    return Sheet(
        title="Performance before and after",
        columns=(
            Column(title="data", numeric=False),
            Column(title="measure", numeric=False),
            Column(title="unit", numeric=False),
            Column(title="before", status="estimate"),
            Column(title="after", status="estimate"),
            Column(
                title="change",
                status="estimate",
                meaning="After − before ± its standard error, on the same samples; its absolute value is the PD.",
            ),
            Column(
                title=interval,
                numeric=False,
                priority=1,
                status="estimate",
                meaning="Of the change, by paired bootstrap.",
            ),
            Column(title="samples", priority=2),
        ),
        rows=tuple(rows),
    )


def predictive_sheet(explanation: Explanation) -> Sheet | None:
    """Make the table of what the predictions prove without labels; None when they prove nothing."""
    rows = [
        _predictive_row(name, found, explanation) for name, found in explanation.predictive.items() if found.measurable
    ]
    if not rows:
        return None
    (confidence,) = {found.confidence for found in explanation.predictive.values()}
    level = f"{100 * confidence:.6g} %"
    holds = f"Of the argmax. Each bound holds with {level} confidence, if the inputs are an independent sample."
    return Sheet(
        title="What the predictions prove, whatever the labels are",
        columns=(
            Column(title="inputs", numeric=False),
            Column(title="number", priority=1),
            Column(
                title="differ",
                status="exact",
                meaning="Inputs to which the two networks give different classes; of tokens, positions.",
            ),
            Column(
                title="accuracy",
                stage="changes by at most",
                unit="pp",
                status="bound",
                meaning=holds,
            ),
            Column(title="accuracy", stage="measured change", unit="pp", status="estimate", priority=2),
            Column(
                title="right label",
                stage="changes by at most",
                unit="pp",
                status="bound",
                meaning="Mean probability that the network gives to the right label.",
            ),
            Column(
                title="mean TV",
                status="estimate",
                meaning="Total variation of the predictions before and after, ± its standard error.",
                priority=3,
            ),
            Column(
                title="mean KL",
                unit="nats",
                status="estimate",
                meaning="Divergence of the predictions after from those before, ± its standard error.",
                priority=4,
            ),
        ),
        rows=tuple(rows),
    )


def not_compared(comparison: Comparison) -> list[str]:
    """Say what could not be compared or only in part, and why; the same reason once, with examples."""
    reasons: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.reason:
            reasons.setdefault(row.reason, []).append(row.layer)
    sentences = [printable(mismatch.explanation) for mismatch in comparison.unpaired]
    return sentences + [f"{_names(layers)}: {printable(reason)}" for reason, layers in reasons.items()]


def verdict(comparison: Comparison) -> str:
    """Say in one sentence what changed overall, and which layers most."""
    found = comparison.summary().splitlines()[0]
    worst = sorted((row for row in comparison.rows if row.relative_ap2), key=lambda row: -(row.relative_ap2 or 0.0))
    if not worst:
        return found
    named = [f"{printable(row.layer)} ({number(row.relative_ap2)} of ‖ω‖²)" for row in worst[:_EXAMPLES]]
    return f"{found}; most damaged by relative AP2: {', '.join(named)}"


def obstacles(explanation: Explanation) -> list[str]:
    """Say which performance differences have no value or no interval, which bounds do not exist, and why."""
    differences = [
        f"{metric} on {split}: {printable(difference.reason)}"
        for split, metrics in explanation.performance.items()
        for metric, difference in metrics.items()
        if difference.reason
    ]
    bounds = [
        f"bound from the predictions on {name}: {printable(found.reason)}"
        for name, found in explanation.predictive.items()
        if found.reason
    ]
    return differences + bounds


def _performance_row(split: str, difference: PerformanceDifference) -> tuple[Cell, ...]:
    interval = "n/a"
    if difference.lower is not None and difference.upper is not None:
        interval = f"{value(difference.lower).text} to {value(difference.upper).text}"
    return (
        words(split),
        words(difference.metric),
        words(difference.unit),
        value(difference.dense, "fine"),
        value(difference.compressed, "fine"),
        Cell(with_error(difference.difference, difference.standard_error), difference.difference),
        Cell(interval, difference.lower),
        whole(difference.samples),
    )


def _predictive_row(name: str, found: Predictive, explanation: Explanation) -> tuple[Cell, ...]:
    measured = explanation.performance.get(name, {}).get("accuracy")
    if measured is None and len(explanation.performance) == 1:
        measured = next(iter(explanation.performance.values())).get("accuracy")
    return (
        words(name),
        whole(found.samples),
        _differing(found),
        _bounded(found.accuracy),
        value(None if measured is None or measured.difference is None else 100 * measured.difference),
        _bounded(found.probability),
        quantity_cell(found.mean_total_variation),
        quantity_cell(found.mean_kl),
    )


def _differing(found: Predictive) -> Cell:
    share = found.mean_disagreement
    if found.disagreements is None and share is not None:
        return value(share.value, "percent")
    return whole(found.disagreements)


def _bounded(bound: Bound | None) -> Cell:
    return value(None) if bound is None else Cell(at_most_points(bound.value), bound.value)


def _names(layers: Iterable[str]) -> str:
    names = [printable(layer) for layer in layers]
    more = len(names) - _EXAMPLES
    return ", ".join(names[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")
