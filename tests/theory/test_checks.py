"""Arguments of the statements: what passes, and what is refused in one line."""

import math

import pytest

from shrinkscope.errors import TheoryError
from shrinkscope.theory.checks import finite, not_negative, positive, probability, times


def test_what_may_be_passes_unchanged():
    assert finite(-3, "x") == -3.0
    assert not_negative(math.inf, "x") == math.inf
    assert positive(1e-300, "x") == 1e-300
    assert probability(1, "x") == 1.0


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (finite, math.inf, "λ is inf; expected a finite number"),
        (finite, math.nan, "λ is nan; expected a finite number"),
        (not_negative, -1e-9, "λ is -1e-09; expected a number of at least 0"),
        (not_negative, math.nan, "λ is nan; expected a number of at least 0"),
        (positive, 0.0, "λ is 0.0; expected a positive finite number"),
        (positive, math.inf, "λ is inf; expected a positive finite number"),
        (positive, math.nan, "λ is nan; expected a positive finite number"),
        (probability, 1.1, "λ is 1.1; expected a number from 0 to 1"),
        (probability, math.nan, "λ is nan; expected a number from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(check, value, message):
    with pytest.raises(TheoryError, match=message):
        check(value, "λ")


def test_nothing_times_infinity_is_nothing():
    assert times(0.0, math.inf) == times(math.inf, 0.0) == 0.0
    assert times(-2.0, 3.0) == -6.0
    assert times(-2.0, math.inf) == -math.inf
