"""What a statement of the theory yields on numbers: a bound, what went into it, and what it takes for granted."""

from typing import Literal

import msgspec

Form = Literal["published", "corrected", "sharpened"]
"""Which text a bound follows: the paper as printed, what its argument really gives, or a better argument."""

Side = Literal["upper", "lower"]


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something a statement takes for granted.

    Attributes:
        text: The assumption in words.
        holds: Whether it was checked and holds (True), was checked and fails (False), or cannot be checked (None).
    """

    text: str
    holds: bool | None = None


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A bound, with the constants it was computed from.

    Attributes:
        statement: The statement of the paper, for example ``"Lemma 3.1"``, or ``"predictive bound"``.
        form: As published, corrected or sharpened.
        side: Whether the quantity is at most (upper) or at least (lower) the value.
        quantity: What is bounded, in words and with the symbol used.
        value: The bound, in ``unit``; infinity where the statement says nothing.
        unit: Unit of the value.
        constants: Symbol → number that went in.
        assumptions: What the statement takes for granted, checked or not.
    """

    statement: str
    form: Form
    side: Side
    quantity: str
    value: float
    unit: str
    constants: dict[str, float]
    assumptions: tuple[Assumption, ...] = ()

    @property
    def assumptions_hold(self) -> bool | None:
        """False if an assumption was seen to fail; None if one is unchecked; True if all were checked and hold."""
        answers = [assumption.holds for assumption in self.assumptions]
        if False in answers:
            return False
        return None if None in answers else True

    def tightness(self, measured: float) -> float:
        """The bound over the measured quantity, a pure number: at least 1 for an upper bound that holds, 1 if tight.

        Args:
            measured: The quantity itself, in ``unit``.

        Returns:
            The ratio; infinity where the measured quantity is 0 and the bound is not, and 1 where both are 0.
        """
        if measured == 0:
            return 1.0 if self.value == 0 else float("inf")
        return self.value / measured

    def violated(self, measured: float, *, tolerance: float = 0.0) -> bool:
        """Whether the measured quantity lies on the wrong side of the bound.

        Args:
            measured: The quantity itself, in ``unit``.
            tolerance: How far on the wrong side it may lie, for rounding or the error of the measurement.
        """
        if self.side == "upper":
            return measured > self.value + tolerance
        return measured < self.value - tolerance
