"""A statement put to the test: its bound beside the quantity itself, one instance at a time, and many in a row."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from shrinkscope.theory.bound import Assumption, Bound
from shrinkscope.theory.statements import STATEMENTS

ROUNDING = 1e-9
"""Relative distance on the wrong side that is put down to rounding: both sides are float64 of a few thousand terms."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a statement.

    Attributes:
        bound: What the statement says.
        measured: The quantity itself, in the unit of the bound.
        form: Name of the form, where the bound's own does not tell two apart.
        equation: Whether the statement is an equation, which the quantity may miss on either side.
    """

    bound: Bound
    measured: float
    form: str = ""
    equation: bool = False

    @property
    def name(self) -> tuple[str, str]:
        """Statement and form."""
        return self.bound.statement, self.form or self.bound.form

    @property
    def violated(self) -> bool:
        """Whether the quantity is where the statement says it cannot be."""
        tolerance = ROUNDING * abs(self.measured)
        if self.equation:
            return not abs(self.measured - self.bound.value) <= tolerance
        return self.bound.violated(self.measured, tolerance=tolerance)

    @property
    def tightness(self) -> float:
        """How many times the quantity the bound is, or for a lower bound how many times the bound the quantity is.

        At least 1 where the statement holds, 1 where it is tight, infinite where it says nothing.
        """
        if self.bound.side == "upper":
            return self.bound.tightness(self.measured)
        if self.bound.value == 0:
            return 1.0 if self.measured == 0 else math.inf
        return self.measured / self.bound.value


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """A statement in one form over the instances of one case.

    Attributes:
        case: What was tried: ``quadratics``, ``digits`` or the user's pair.
        statement: The statement of the paper.
        form: As published, corrected or sharpened.
        quantity: What is bounded, in words.
        side: ``upper``, ``lower`` or ``equation``.
        unit: Unit of bound and quantity.
        instances: Number of instances.
        void: Instances in which the statement says nothing: an infinite upper bound.
        violations: Instances in which the quantity is on the wrong side.
        bound: Median of the bound; None where it is infinite.
        measured: Median of the quantity.
        tightness: Median of the ratio that is at least 1 where the statement holds; None where it is infinite.
        assumptions: Assumptions seen to fail or not checked, in words; None when all were checked and hold.
        reason: Why there is no instance; None when there are.
    """

    case: str
    statement: str
    form: str
    quantity: str
    side: str
    unit: str
    instances: int
    void: int
    violations: int
    bound: float | None
    measured: float | None
    tightness: float | None
    assumptions: str | None
    reason: str | None = None


def tabulate(case: str, trials: Iterable[Trial]) -> list[StatementRow]:
    """One row for each statement and form, the statements in the paper's order and the forms as they first come.

    Args:
        case: What was tried.
        trials: Instances.

    Returns:
        Rows with medians over the instances.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.name, []).append(trial)
    order = {name: index for index, name in enumerate(STATEMENTS)}  # what is not the paper's own comes last
    names = sorted(groups, key=lambda name: order.get(name[0], len(order)))
    return [_row(case, groups[name]) for name in names]


def untried(case: str, statement: str, reason: str) -> StatementRow:
    """The row of a statement that has no instance in a case.

    Args:
        case: The case.
        statement: The statement.
        reason: Why not.
    """
    return StatementRow(
        case=case,
        statement=statement,
        form="all forms",
        quantity="",
        side="upper",
        unit="",
        instances=0,
        void=0,
        violations=0,
        bound=None,
        measured=None,
        tightness=None,
        assumptions=None,
        reason=reason,
    )


def _row(case: str, group: Sequence[Trial]) -> StatementRow:
    first = group[0]
    return StatementRow(
        case=case,
        statement=first.name[0],
        form=first.name[1],
        quantity=first.bound.quantity,
        side="equation" if first.equation else first.bound.side,
        unit=first.bound.unit,
        instances=len(group),
        void=sum(math.isinf(trial.bound.value) for trial in group),
        violations=sum(trial.violated for trial in group),
        bound=_finite(median(trial.bound.value for trial in group)),
        measured=_finite(median(trial.measured for trial in group)),
        tightness=_finite(median(trial.tightness for trial in group)),
        assumptions=_open_assumptions(group),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _open_assumptions(group: Sequence[Trial]) -> str | None:
    """Assumptions that do not hold in all instances, each with what is known of it."""
    answers: dict[str, list[Assumption]] = {}
    for trial in group:
        for assumption in trial.bound.assumptions:
            answers.setdefault(assumption.text, []).append(assumption)
    texts = []
    for text, found in answers.items():
        failed = sum(assumption.holds is False for assumption in found)
        if failed:
            texts.append(f"{text}: fails in {failed} of {len(found)}")
        elif any(assumption.holds is None for assumption in found):
            texts.append(f"{text}: not checked")
    return "; ".join(texts) or None
