"""A comparison in words: what changed, where most, and what could not be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shrinkscope.analysis.order import worst_first

if TYPE_CHECKING:
    from shrinkscope.analysis.comparison import Comparison
    from shrinkscope.analysis.predictive import Predictive
    from shrinkscope.performance import PerformanceDifference

SHOWN = 3


def comparison_in_words(comparison: "Comparison") -> str:
    """A few lines of plain text: the verdict, the totals, the most damaged layers, and what was left out.

    Args:
        comparison: The comparison.

    Returns:
        Lines joined by newlines; the word "identical" occurs only when every value of both networks was compared.
    """
    total = comparison.total
    lines = [_verdict(comparison)]
    if total.parameters and total.changed_layers:
        lines.append(
            f"sparsity {_percent(total.sparsity_dense)} → {_percent(total.sparsity)}, "
            f"AP2 {total.ap2:.6g} (relative {_number(total.relative_ap2)}) "
            f"over {total.parameters:,} weights"
        )
        lines.append(f"most damaged (relative AP2): {_most_damaged(comparison)}")
    lines.extend(_left_out(comparison))
    return "\n".join(lines)


def _verdict(comparison: "Comparison") -> str:
    total = comparison.total
    if comparison.identical:
        values = sum(row.parameters for row in comparison.rows)
        return f"identical: all {values:,} values in {len(comparison.rows)} tensors were compared and are equal"
    if comparison.complete and all(row.changed == 0 for row in comparison.rows):
        bits = sum(row.bitwise_equal is not True for row in comparison.rows)
        return f"equal, but not identical: {bits} of {len(comparison.rows)} tensors hold the same numbers in other bits"
    if total.changed_layers == 0:
        return f"no difference found in the {total.layers} tensors that were compared; not everything was"
    return f"{total.changed_layers} of {total.layers} compared tensors changed"


def _most_damaged(comparison: "Comparison") -> str:
    measured = [row for row in worst_first(comparison.rows, "relative_ap2") if row.relative_ap2 is not None]
    return ", ".join(f"{row.layer} {row.relative_ap2:.3g}" for row in measured[:SHOWN])


def _left_out(comparison: "Comparison") -> list[str]:
    lines = [mismatch.explanation for mismatch in comparison.unpaired]
    lines.extend(f"{row.layer}: {row.reason}" for row in comparison.rows if row.reason)
    return [f"not compared, or only in part: {len(lines)}", *(f"  {line}" for line in lines)] if lines else []


def _percent(fraction: float | None) -> str:
    return "undefined" if fraction is None else f"{fraction:.1%}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def performance_in_words(performance: Mapping[str, Mapping[str, PerformanceDifference]]) -> list[str]:
    """One line a split and metric: before, after, and the difference with its interval.

    Args:
        performance: Split → metric → difference.

    Returns:
        The lines, without the comparison of the weights.
    """
    return [
        f"{metric} on {split}: {_difference_in_words(difference)}"
        for split, metrics in performance.items()
        for metric, difference in metrics.items()
    ]


def _difference_in_words(difference: PerformanceDifference) -> str:
    if difference.difference is None:
        return f"not measurable: {difference.reason}"
    text = f"{difference.dense:.4f} → {difference.compressed:.4f} {difference.unit}"
    text += f", difference {difference.difference:+.4f}"
    if difference.lower is not None and difference.upper is not None:
        text += f" ({difference.confidence:.0%} interval {difference.lower:+.4f} to {difference.upper:+.4f})"
    return f"{text}, {difference.samples:,} samples"


def predictive_in_words(
    predictive: Mapping[str, "Predictive"], performance: Mapping[str, Mapping[str, PerformanceDifference]]
) -> list[str]:
    """What the predictions prove, two sentences for each set of inputs, with the measured accuracy beside.

    Args:
        predictive: Name of the inputs → bounds.
        performance: Split → metric → difference; the measured accuracies come from here.

    Returns:
        The sentences.
    """
    sentences = []
    for name, found in predictive.items():
        if found.probability is None or found.mean_total_variation is None:
            sentences.append(f"no bound from the predictions on {name}: {found.reason}")
            continue
        at = f"with {100 * found.confidence:.6g} % confidence"
        seen = _seen(name, found, performance)
        if found.accuracy is not None:
            sentences.append(
                f"{_ACCURACY[found.kind or 'classes']} drops by at most {at_most_points(found.accuracy.value)} points "
                f"({at}; from {seen}){_measured(name, performance)}"
            )
            seen = ""
        sentences.append(
            f"{_PROBABILITY[found.kind or 'classes']} changes by at most {at_most_points(found.probability.value)} "
            f"points ({at}; {f'from {seen}; ' if seen else ''}mean total variation "
            f"{found.mean_total_variation.value:.3g})"
        )
    return sentences


_ACCURACY = {"classes": "Accuracy", "tokens": "Accuracy per token"}
_PROBABILITY = {
    "classes": "The mean probability of the right label",
    "tokens": "The mean probability of the right token",
    "regression": "The mean probability of being within any tolerance of the truth",
}


def _seen(name: str, found: "Predictive", performance: Mapping[str, Mapping[str, PerformanceDifference]]) -> str:
    """What the bounds are from: how many inputs, of which kind, and how many of them differ."""
    unlabelled = name not in performance
    if found.kind == "tokens" and found.mean_disagreement is not None:
        source = "unlabelled sequences" if unlabelled else f"sequences of {name}, their targets unused"
        share = _percent(found.mean_disagreement.value)
        return f"{found.samples:,} {source}, at {share} of whose positions the networks predict different tokens"
    source = "unlabelled inputs" if unlabelled else f"inputs of {name}, their labels unused"
    if found.disagreements is None:
        return f"{found.samples:,} {source}, standard deviation {found.scale:.3g}"
    return f"{found.samples:,} {source}, {found.disagreements:,} of which the networks classify differently"


def at_most_points(fraction: float) -> str:
    """Write an upper bound in percentage points, rounded up, so that what is printed still is a bound.

    >>> at_most_points(0.01941), at_most_points(0.00030), at_most_points(0.02), at_most_points(1.0)
    ('2.0', '0.030', '2.0', '100')
    """
    points = 100 * fraction
    if points >= 100 or points == 0:
        return f"{points:.0f}"
    decimals = 1 if points >= 1 else 1 - math.floor(math.log10(points))
    # The last bits of a decimal fraction are not worth a step: 2.0000000000000004 is 2.0.
    return f"{math.ceil(round(points * 10**decimals, 6)) / 10**decimals:.{decimals}f}"


def _measured(name: str, performance: Mapping[str, Mapping[str, PerformanceDifference]]) -> str:
    splits = [name] if name in performance else list(performance)
    found = {split: performance[split]["accuracy"].difference for split in splits if "accuracy" in performance[split]}
    told = [f"{100 * change:+.1f} points on {split}" for split, change in found.items() if change is not None]
    return f"; measured: {', '.join(told)}" if told else ""
