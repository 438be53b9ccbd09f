import math

import pytest

from shrinkscope.analysis.statements import Trial, tabulate, untried
from shrinkscope.theory import Assumption, Bound


def bound(value: float, *, statement: str = "Lemma 3.1", form="corrected", side="upper", holds=True) -> Bound:
    return Bound(
        statement=statement,
        form=form,
        side=side,
        quantity="D",
        value=value,
        unit="nats",
        constants={},
        assumptions=(Assumption(text="it rains", holds=holds),),
    )


@pytest.mark.parametrize(
    ("side", "value", "measured", "violated", "tightness"),
    [
        ("upper", 2.0, 1.0, False, 2.0),
        ("upper", 1.0, 2.0, True, 0.5),
        ("upper", 1.0, 1.0 + 1e-12, False, 1.0),
        ("upper", math.inf, 1.0, False, math.inf),
        ("lower", 2.0, 4.0, False, 2.0),
        ("lower", 4.0, 2.0, True, 0.5),
        ("lower", 0.0, 1.0, False, math.inf),
        ("lower", 0.0, 0.0, False, 1.0),
    ],
)
def test_one_instance(side, value, measured, violated, tightness):
    trial = Trial(bound=bound(value, side=side), measured=measured)
    assert trial.violated is violated
    assert trial.tightness == pytest.approx(tightness, rel=1e-9)


@pytest.mark.parametrize(("value", "violated"), [(1.0, False), (1.1, True), (0.9, True)])
def test_an_equation_can_fail_on_either_side(value, violated):
    assert Trial(bound=bound(value), measured=1.0, equation=True).violated is violated


def test_medians_and_counts_by_statement_and_form_in_the_order_of_the_paper():
    trials = [
        Trial(bound=bound(0.5, statement="predictive bound"), measured=0.25, form="disagreement"),
        *(Trial(bound=bound(value, statement="Lemma 3.1"), measured=1.0) for value in (0.5, 3.0, math.inf)),
        Trial(bound=bound(1.0, statement="Eq. (3)", form="published", holds=None), measured=1.0, equation=True),
    ]
    first, second, third = tabulate("case", trials)
    assert (first.statement, first.side, first.violations) == ("Eq. (3)", "equation", 0)
    assert first.assumptions == "it rains: not checked"
    assert (second.statement, second.instances, second.violations, second.void) == ("Lemma 3.1", 3, 1, 1)
    assert (second.bound, second.measured, second.tightness) == (3.0, 1.0, 3.0)
    assert second.assumptions is None
    assert (third.statement, third.form, third.tightness) == ("predictive bound", "disagreement", 2.0)


def test_infinite_medians_are_absent_and_failed_assumptions_are_counted():
    trials = [Trial(bound=bound(math.inf, holds=False), measured=1.0), Trial(bound=bound(math.inf), measured=2.0)]
    (row,) = tabulate("case", trials)
    assert row.bound is None
    assert row.tightness is None
    assert row.measured == 1.5
    assert row.assumptions == "it rains: fails in 1 of 2"


def test_what_was_not_tried_says_why():
    row = untried("pair", "Theorem 3.6", "a pair has no iterates")
    assert (row.instances, row.reason, row.bound) == (0, "a pair has no iterates", None)
