"""What became of the gates, in sentences and as a table of the rows that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shrinkscope.analysis.gates import GateFailure, GateVerdict
from shrinkscope.report.format import counted, printable
from shrinkscope.report.sheet import Cell, Column, Sheet, value, words

if TYPE_CHECKING:
    from shrinkscope.analysis import Comparison

_EXAMPLES = 5


def gates_in_words(comparison: Comparison) -> list[str]:
    """Say of each gate whether it passed, and which rows failed it, the worst first.

    Args:
        comparison: The comparison.

    Returns:
        A sentence a gate.
    """
    return [_sentence(gate) for gate in comparison.gates]


def failures_sheet(comparison: Comparison) -> Sheet | None:
    """Make the table of all rows that failed a gate; None when all gates passed.

    Args:
        comparison: The comparison.

    Returns:
        A row for each gate and row that failed it.
    """
    rows = [
        (words(gate.rule), words(failure.name), _value(failure), words(failure.reason or ""))
        for gate in comparison.gates
        for failure in gate.failures
    ]
    if not rows:
        return None
    columns = tuple(
        Column(title=title, numeric=title == "value") for title in ("must not be", "row", "value", "why there is none")
    )
    kept = range(4) if any(row[3].text for row in rows) else range(3)
    return Sheet(
        title="Rows that failed a gate",
        columns=tuple(columns[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in rows),
    )


def _sentence(gate: GateVerdict) -> str:
    ignored = f", {counted(gate.ignored, 'row')} without a value ignored" if gate.ignored else ""
    if gate.passed:
        return f"passed: {printable(gate.rule)} ({counted(gate.checked, 'row')}{ignored})"
    rows = gate.checked + sum(failure.value is None for failure in gate.failures)
    named = [f"{printable(failure.name)} ({_what(failure)})" for failure in gate.failures[:_EXAMPLES]]
    more = len(gate.failures) - _EXAMPLES
    return (
        f"failed: {printable(gate.rule)}: {len(gate.failures)} of {counted(rows, 'row')}{ignored}: "
        f"{', '.join(named)}{f' and {more} more' if more > 0 else ''}"
    )


def _what(failure: GateFailure) -> str:
    return f"no value: {printable(failure.reason or '')}" if failure.value is None else _value(failure).text


def _value(failure: GateFailure) -> Cell:
    if isinstance(failure.value, int):
        return Cell(f"{failure.value:,}", failure.value)
    return words(failure.value) if isinstance(failure.value, str) else value(failure.value, "fine")
