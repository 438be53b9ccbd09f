"""Arguments of the statements: numbers that can be what they are said to be, or one line that says why not."""

import math

from shrinkscope.errors import TheoryError


def finite(value: float, what: str) -> float:
    """The number, after a check that it is one.

    Raises:
        TheoryError: If it is infinite or NaN.
    """
    if not math.isfinite(value):
        raise TheoryError(f"{what} is {value}; expected a finite number")
    return float(value)


def not_negative(value: float, what: str) -> float:
    """The number, after a check that it is at least 0; infinity passes, since a divergence or a volume may be infinite.

    Raises:
        TheoryError: If it is negative or NaN.
    """
    if not value >= 0:
        raise TheoryError(f"{what} is {value}; expected a number of at least 0")
    return float(value)


def positive(value: float, what: str) -> float:
    """The number, after a check that it is positive and finite.

    Raises:
        TheoryError: If it is zero, negative, infinite or NaN.
    """
    if not (value > 0 and math.isfinite(value)):
        raise TheoryError(f"{what} is {value}; expected a positive finite number")
    return float(value)


def probability(value: float, what: str) -> float:
    """The number, after a check that it lies in [0, 1].

    Raises:
        TheoryError: If it does not.
    """
    if not 0 <= value <= 1:
        raise TheoryError(f"{what} is {value}; expected a number from 0 to 1")
    return float(value)


def times(first: float, second: float) -> float:
    """The product of two numbers, where nothing times infinity is nothing."""
    return 0.0 if first == 0 or second == 0 else first * second
