"""The summary of a study: one row a configuration, just pruned and after fine-tuning, averaged over trials."""

from collections.abc import Iterator

import msgspec
import numpy as np

from shrinkscope.report.curves import NETWORK, Curves
from shrinkscope.report.format import counted, number, percent, printable
from shrinkscope.report.sheet import Cell, Column, Sheet, value, words
from shrinkscope.report.vocabulary import heading, level_name, scope_name, term

PRUNED, TUNED = "pruned", "tuned"


class _Measure(msgspec.Struct, frozen=True):
    """A column of the summary: a metric at a stage."""

    metric: str
    title: str
    stage: str
    kind: str
    priority: int


_MEASURES = (
    _Measure("ap2", "AP2", PRUNED, "number", 0),
    _Measure("ap3_student_t_grouped", heading("ap3_student_t_grouped"), PRUNED, "number", 0),
    _Measure("ap3_student_t", heading("ap3_student_t"), PRUNED, "number", 7),
    _Measure("ap3_gaussian", heading("ap3_gaussian"), PRUNED, "number", 8),
    _Measure("ap3_gaussian_rotated", heading("ap3_gaussian_rotated"), PRUNED, "number", 6),
    _Measure("ap3_gaussian_rotated_grouped", heading("ap3_gaussian_rotated_grouped"), PRUNED, "number", 6),
    _Measure("accuracy_test", "accuracy", PRUNED, "percent", 0),
    _Measure("pd_loss_test", "PD loss", PRUNED, "number", 0),
    _Measure("ap2", "AP2", TUNED, "number", 5),
    _Measure("accuracy_test", "accuracy", TUNED, "percent", 0),
    _Measure("pd_loss_test", "PD loss", TUNED, "number", 0),
    _Measure("pd_accuracy_test", "PD acc.", TUNED, "points", 3),
)

_BY_LAYER = (
    "sparsity",
    "relative_ap2",
    "ap2",
    "ap3_gaussian",
    "ap3_student_t",
    "ap3_student_t_grouped",
    "ap3_gaussian_rotated",
    "ap3_gaussian_rotated_grouped",
)


def summary_sheets(curves: Curves) -> list[Sheet]:
    """Make one table for each scope.

    Args:
        curves: The records.

    Returns:
        Tables whose rows are methods × levels; cells are means over trials, and their notes give the range.
    """
    return [_sheet(curves, scope) for scope in curves.scopes]


def layers_sheet(curves: Curves) -> Sheet | None:
    """Make the table of all layers just after pruning, for the scopes that touch more than one.

    Args:
        curves: The records.

    Returns:
        A row for every scope but the last layer alone, method, level and layer; ``None`` when there is none.
    """
    recorded = curves.metrics_of(*curves.layers)
    metrics = [metric for metric in _BY_LAYER if metric in recorded]
    rows = [
        (
            words(scope_name(scope)),
            words(method),
            Cell(level_name(level), level),
            words(layer),
            *(_mean(curves, metric, _kind(metric), (scope, method, level), 0, layer) for metric in metrics),
        )
        for scope in curves.scopes
        if scope != "last"
        for method in curves.methods
        for level in curves.levels
        for layer in curves.layers
    ]
    if not rows or not metrics:
        return None
    names = [Column(title=title, numeric=title == "removed") for title in ("scope", "method", "removed", "layer")]
    return Sheet(
        title="Every layer, just pruned",
        columns=(*names, *(_column(_Measure(metric, heading(metric), "", _kind(metric), 0)) for metric in metrics)),
        rows=tuple(rows),
    )


def _kind(metric: str) -> str:
    return "percent" if metric == "sparsity" else "number"


def dense_in_words(curves: Curves) -> str:
    """Say how good the network is before compression.

    Args:
        curves: The records.

    Returns:
        One sentence, or an empty text when the dense network was not recorded.
    """
    network = curves.dense[curves.dense["layer"] == NETWORK]
    means = network.groupby("metric")["value"].mean().to_dict()
    parts = [
        f"{write(means[metric])} {word}"
        for metric, word, write in (
            ("accuracy_test", "accuracy on held-out data", percent),
            ("accuracy_train", "on training data", percent),
            ("loss_test", "nats loss on held-out data", number),
        )
        if metric in means
    ]
    trials = network["trial"].nunique()
    return f"Before pruning: {', '.join(parts)} (mean of {counted(trials, 'trial')})." if parts else ""


def _sheet(curves: Curves, scope: str) -> Sheet:
    recorded = curves.metrics_of(NETWORK)
    measures = [measure for measure in _MEASURES if measure.metric in recorded]
    rows = [
        (words(method), Cell(level_name(level), level), *_cells(curves, scope, method, level, measures))
        for method in curves.methods
        for level in curves.levels
    ]
    return Sheet(
        title=f"{scope_name(scope)} pruned".capitalize(),
        columns=(
            Column(title="method", stage="", numeric=False, meaning="which weights are removed, by magnitude"),
            Column(title="removed", meaning="share of the weights removed"),
            *(_column(measure) for measure in measures),
        ),
        rows=tuple(rows),
        groups=frozenset(range(len(curves.levels), len(rows), len(curves.levels))),
    )


def _column(measure: _Measure) -> Column:
    described = term(measure.metric)
    unit = {"percent": "%", "points": "pp"}.get(measure.kind, described.unit)
    return Column(
        title=measure.title,
        stage=measure.stage,
        unit=unit,
        status=described.status,
        meaning=described.meaning,
        priority=measure.priority,
    )


def _cells(curves: Curves, scope: str, method: str, level: float, measures: list[_Measure]) -> Iterator[Cell]:
    for measure in measures:
        epoch = 0 if measure.stage == PRUNED else curves.last_epoch
        yield _mean(curves, measure.metric, measure.kind, (scope, method, level), epoch, NETWORK)


def _mean(
    curves: Curves, metric: str, kind: str, configuration: tuple[str, str, float], epoch: int, layer: str
) -> Cell:
    """Mean over trials of one metric at one epoch; the note says how far the trials spread, or why there is none."""
    values = curves.curve(metric, *configuration, layer).at(epoch)
    reason = curves.reason(metric, *configuration, epoch, layer)
    mean = float(values.mean()) if values.size else None
    return value(mean, kind, _range(values, kind, curves.trials, reason))


def _range(values: np.ndarray, kind: str, trials: int, reason: str) -> str:
    because = f": {printable(reason)}" if reason else ""
    if not values.size:
        return f"measured in no trial{because}"
    low, high = value(float(values.min()), kind).text, value(float(values.max()), kind).text
    missing = "" if values.size == trials else f", measured in {values.size} of {counted(trials, 'trial')}{because}"
    return f"{low} to {high}{missing}"
