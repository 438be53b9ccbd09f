"""A comparison or an explanation as tables: layers, performance, and what could not be compared."""

from collections.abc import Iterable

import msgspec

from shrinkscope.analysis import Comparison, Explanation, LayerRecord
from shrinkscope.analysis.predictive import Predictive
from shrinkscope.analysis.wording import at_most_points
from shrinkscope.errors import SelectionError
from shrinkscope.performance import PerformanceDifference
from shrinkscope.quantity import Quantity
from shrinkscope.report.format import printable, shape, with_error
from shrinkscope.report.sheet import Cell, Column, Sheet, sort_rows, value, whole, words
from shrinkscope.report.vocabulary import heading, term
from shrinkscope.theory import Bound

_EXAMPLES = 3  # layers named for each reason; a network has dozens of batch counters that share theirs

# Field of the record → column. The sort keys of the command line are the fields' names.
_FIELDS: dict[str, Column] = {
    "layer": Column(title="layer", numeric=False),
    "shape": Column(title="shape", numeric=False, priority=8),
    "parameters": Column(title="weights", priority=3),
    "sparsity_dense": Column(title="zeros", stage="before", unit="%", priority=4, status="exact"),
    "sparsity": Column(
        title="zeros", stage="after", unit="%", status="exact", meaning="Share of the weights that are exactly zero."
    ),
    "relative_ap2": Column(title="rel. AP2", unit="of ‖ω‖²", status="exact", meaning=term("relative_ap2").meaning),
    "ap2": Column(title="AP2", unit="weight²", status="exact", meaning=term("ap2").meaning, priority=1),
    "cosine": Column(
        title="cosine",
        status="exact",
        meaning="Cosine of the angle between ω and ω̃; 1 is the same direction.",
        priority=5,
    ),
    "max_abs_delta": Column(
        title="max |Δ|", unit="weight", status="exact", meaning="Largest change of a single weight.", priority=6
    ),
}
_KINDS = {"sparsity_dense": "percent", "sparsity": "percent", "cosine": "fine"}


def layer_sheet(comparison: Comparison, *, sort: str = "relative_ap2", top: int | None = None) -> Sheet:
    """Make the table of the compared layers, most damaged first.

    Args:
        comparison: The comparison.
        sort: Column to sort by, largest first: a name of ``comparison.to_dataframe()`` that holds numbers.
        top: Most rows; all when None.

    Returns:
        A table with a row for every measured layer and a total.

    Raises:
        SelectionError: If there is no such column.
    """
    divergences = list(comparison.total.divergences)
    names = [*_FIELDS, *divergences]
    if sort not in names or not _column(sort, comparison).numeric:
        numeric = [name for name in names if _column(name, comparison).numeric]
        raise SelectionError(f"cannot sort by {sort!r}; the columns are {', '.join(numeric)}")
    rows = [tuple(_cell(row, name) for name in names) for row in comparison.rows if row.measurable]
    sheet = Sheet(
        title=_title(comparison, len(rows), top),
        columns=tuple(_essential(_column(name, comparison), name == sort) for name in names),
        rows=tuple(rows),
        total=tuple(_total(comparison, name) for name in names),
    )
    ordered = sort_rows(sheet, names.index(sort))
    return msgspec.structs.replace(ordered, rows=ordered.rows[:top])


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
    """Say in one sentence what changed overall."""
    return comparison.summary().splitlines()[0]


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


def _title(comparison: Comparison, measured: int, top: int | None) -> str:
    shown = f"{top} of {measured}" if top is not None and top < measured else str(measured)
    return f"Damage by layer ({shown} layers)"


def _column(name: str, comparison: Comparison) -> Column:
    if name in _FIELDS:
        return _FIELDS[name]
    quantity = comparison.total.divergences[name]
    described = term(name)
    return Column(
        title=heading(name),
        unit=quantity.unit,
        status=quantity.status,
        meaning=described.meaning,
        priority=2,
    )


def _essential(column: Column, essential: bool) -> Column:
    return msgspec.structs.replace(column, priority=0) if essential else column


def _cell(row: LayerRecord, name: str) -> Cell:
    if name == "layer":
        return words(row.layer, note=f"{row.role}, {row.dtype}")
    if name == "shape":
        return words(shape(row.shape))
    if name == "parameters":
        return whole(row.parameters)
    if name in _FIELDS:
        return value(getattr(row, name), _KINDS.get(name, "number"))
    return _divergence(row.divergences.get(name))


def _total(comparison: Comparison, name: str) -> Cell:
    total = comparison.total
    if name == "layer":
        return words("all measured layers")
    if name == "parameters":
        return whole(total.parameters)
    if name in ("sparsity_dense", "sparsity", "ap2", "relative_ap2"):
        return value(getattr(total, name), _KINDS.get(name, "number"))
    # A shape, an angle and a largest change have no sum.
    return _divergence(total.divergences.get(name)) if name not in _FIELDS else Cell("", None)


def _divergence(quantity: Quantity | None) -> Cell:
    if quantity is None:
        return value(None, note="undefined for this layer")
    return Cell(with_error(quantity.value, quantity.standard_error), quantity.value, note=quantity.status)


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
        _divergence(found.mean_total_variation),
        _divergence(found.mean_kl),
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
