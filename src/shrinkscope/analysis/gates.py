"""Gates: rules held against every row of a comparison, where what could not be compared never passes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.analysis.group import GroupRecord, decibels, merged
from shrinkscope.analysis.grouping import group_key
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.analysis.rule import NO_PATTERN, TENSORS, TEXTS, TOTAL, Rule
from shrinkscope.errors import SelectionError
from shrinkscope.weights import Mismatch

if TYPE_CHECKING:
    from shrinkscope.analysis.comparison import Comparison

_NO_STATISTICS = (
    "layer",
    "group",
    "layers",
    "measured",
    "role",
    "shape",
    "dtype",
    "divergences",
    "measurable",
    "reason",
)
_RAW = ("stored", "square_dense", "square_compressed", "product", "bitwise_equal")
# What the columns are of weights none of which changed, also where a quotient is undefined since all of them are zero.
_UNCHANGED = {"changed": 0, "zeros_gained": 0, "zeros_lost": 0, "ap2": 0.0, "relative_ap2": 0.0, "max_abs_delta": 0.0}
_UNCHANGED |= {"cosine": 1.0, "snr_db": math.inf}


class GateFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A row that a gate does not let pass.

    Attributes:
        name: The tensor, the group, or ``total``.
        value: What meets the condition; None when there is no value.
        reason: Why there is no value; None when there is one.
    """

    name: str
    value: float | str | None = None
    reason: str | None = None


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one gate.

    Attributes:
        rule: The rule as it was written.
        passed: Whether no row failed.
        checked: Rows with a value that were held against it.
        ignored: Rows without a value that the rule said to ignore.
        failures: Rows that failed: those without a value, then the worst first.
    """

    rule: str
    passed: bool
    checked: int
    ignored: int
    failures: tuple[GateFailure, ...]


class _Candidate(msgspec.Struct, frozen=True):
    """A row with the tensors in it that could not be compared; without row when none could."""

    name: str
    row: LayerRecord | GroupRecord | None
    missing: tuple[str, ...]


def gate_columns(divergences: Iterable[str], scope: str = TENSORS) -> list[str]:
    """The columns that rules can be about.

    Args:
        divergences: Columns of the latents.
        scope: What the rows are; groups have fewer columns than tensors.

    Returns:
        Their names.
    """
    record = LayerRecord if scope == TENSORS else GroupRecord
    fields = [field for field in record.__struct_fields__ if field not in (*_NO_STATISTICS, *_RAW)]
    return list(dict.fromkeys([*fields, "snr_db", *divergences]))


def check(comparison: "Comparison", rule: Rule) -> GateVerdict:
    """Hold a rule against a comparison.

    A row fails when its value meets the condition, and also when it has no value: a tensor that is in one network
    only, has another shape or holds a NaN has not been shown to be good. What was compared and did not change passes
    whatever is undefined of it. Tensors that are no weights, such as the counters of batch norms, are not asked.

    Args:
        comparison: The comparison.
        rule: The rule.

    Returns:
        Which rows failed.

    Raises:
        SelectionError: If the rule is about no row, or about a column that groups do not have.
    """
    _require_column(rule)
    candidates = [found for found in _candidates(comparison, rule) if rule.covers(found.name)]
    asked = [found for found in candidates if _is_asked(found, rule.column)]
    if not asked:
        raise SelectionError(_no_row(comparison, rule, candidates))
    values = {found.name: _value(found, rule) for found in asked}
    known = {name: value for name, value in values.items() if value is not None}
    ignoring = rule.ignoring_missing and bool(known)
    missing = [found for found in asked if found.name not in known]
    failures = [] if ignoring else [GateFailure(name=found.name, reason=_reason(found, rule)) for found in missing]
    met = [GateFailure(name=name, value=value) for name, value in known.items() if rule.met_by(value)]
    failures += sorted(met, key=lambda failure: _badness(failure, rule))
    return GateVerdict(
        rule=rule.text,
        passed=not failures,
        checked=len(known),
        ignored=len(missing) if ignoring else 0,
        failures=tuple(failures),
    )


def _require_column(rule: Rule) -> None:
    columns = gate_columns([], rule.scope)
    if rule.scope != TENSORS and rule.column in gate_columns([]) and rule.column not in columns:
        raise SelectionError(f"rule {rule.text!r}: only tensors have {rule.column}, a {rule.scope} has not")


def _candidates(comparison: "Comparison", rule: Rule) -> Iterator[_Candidate]:
    lost = [mismatch for mismatch in comparison.unpaired if mismatch.kind not in ("dtype", "tied", "mapped")]
    if rule.scope == TENSORS:
        known = {row.layer for row in comparison.rows}
        yield from (_Candidate(row.layer, row, _uncompared([row], [], rule)) for row in comparison.rows)
        yield from (_Candidate(m.layer, None, (m.explanation,)) for m in lost if m.layer not in known)
        return
    members: dict[str, tuple[list[LayerRecord], list[Mismatch]]] = {}
    for row in comparison.rows:
        members.setdefault(_group(row.layer, rule), ([], []))[0].append(row)
    for mismatch in lost:
        members.setdefault(_group(mismatch.layer, rule), ([], []))[1].append(mismatch)
    for name, (rows, mismatches) in members.items():
        yield _Candidate(name, merged(name, rows) if rows else None, _uncompared(rows, mismatches, rule))


def _group(name: str, rule: Rule) -> str:
    return TOTAL if rule.scope == TOTAL else group_key(name, rule.scope)


def _uncompared(rows: Sequence[LayerRecord], lost: Sequence[Mismatch], rule: Rule) -> tuple[str, ...]:
    """Why tensors in a row could not be compared in this column."""
    found = [f"{row.layer}: {_why(row, rule)}" for row in rows if not _harmless(row, rule)]
    return (*found, *(mismatch.explanation for mismatch in lost))


def _why(row: LayerRecord, rule: Rule) -> str:
    """The reason that is about this column, of those of the row."""
    reasons = (row.reason or "").split("; ")
    own = [reason for reason in reasons if reason.startswith(f"{rule.column}: ")]
    return (own or reasons)[0].removeprefix(f"{rule.column}: ")


def _harmless(row: LayerRecord, rule: Rule) -> bool:
    """Whether a row was compared: what did not change, and the counters of batch norms, need not be measurable."""
    if row.changed == 0:
        return True
    if not row.measurable:
        return row.changed is not None and (row.role == "statistic" or rule.column == "changed")
    return rule.column in gate_columns([]) or rule.column in row.divergences


def _is_asked(found: _Candidate, column: str) -> bool:
    return bool(found.missing) or found.row is None or found.row.measurable or column == "changed"


def _value(found: _Candidate, rule: Rule) -> float | str | None:
    if found.row is None or (found.missing and not (rule.ignoring_missing and found.row.measurable)):
        return None
    return _statistic(found.row, rule.column)


def _statistic(row: LayerRecord | GroupRecord, column: str) -> float | str | None:
    if column in TEXTS:
        return getattr(row, column, None) or NO_PATTERN
    if row.changed == 0 and column in _UNCHANGED:
        return _UNCHANGED[column]
    if column == "snr_db":
        return decibels(row.square_dense or 0.0, row.ap2 or 0.0)
    if column in gate_columns([]):
        return getattr(row, column, None)
    divergence = row.divergences.get(column)
    # Distributions of equal parameters do not diverge, whatever they are.
    return divergence.value if divergence else 0.0 if row.changed == 0 else None


def _reason(found: _Candidate, rule: Rule) -> str:
    if not found.missing:
        return f"{rule.column} is undefined"
    more = len(found.missing) - 1
    return found.missing[0] + (f", and {more} more could not be compared" if more else "")


def _badness(failure: GateFailure, rule: Rule) -> float:
    if not isinstance(failure.value, (int, float)):
        return 0.0
    return failure.value if rule.comparator.startswith("<") else -failure.value


def _no_row(comparison: "Comparison", rule: Rule, candidates: Sequence[_Candidate]) -> str:
    if candidates:
        return f"rule {rule.text!r} is about tensors only that are no weights, such as {candidates[0].name}"
    names = [found.name for found in _candidates(comparison, rule)]
    near = get_close_matches(rule.glob, names, n=1, cutoff=0.3) or names[:1]
    return f"rule {rule.text!r} is about no row: no name matches {rule.glob!r}; a name is like {near[0]!r}"
