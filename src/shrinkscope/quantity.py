"""A reported number together with its unit and with how far it can be trusted."""

from typing import Literal

import msgspec

Status = Literal["exact", "bound", "estimate"]


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """One reported number.

    Attributes:
        value: The number, in ``unit``.
        unit: What it is measured in, for example ``"nats"``.
        status: ``exact`` (up to floating-point rounding), ``bound`` (at least or at most the truth) or ``estimate``.
        standard_error: Standard error in the same unit; present for estimates, absent otherwise.
    """

    value: float
    unit: str
    status: Status = "exact"
    standard_error: float | None = None

    @property
    def unresolved(self) -> bool:
        """Whether the value cannot be told from zero: an estimate smaller than three of its standard errors."""
        return self.standard_error is not None and abs(self.value) < 3.0 * self.standard_error
