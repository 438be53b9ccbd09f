"""A logarithmic axis that can show zero, with plain decade labels."""

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from shrinkscope.report.format import superscript

_DECADES_BELOW = 0.7  # how far below the smallest value the place of zero lies, in decades


class LogScale:
    """A logarithmic scale for given values, on which an exact zero has a place of its own, marked "0".

    A performance difference in accuracy is often exactly zero; a plain logarithmic axis would drop it silently.

    Attributes:
        lower: Lower limit of the axis.
        upper: Upper limit of the axis.
        zero: Where zero is drawn, or ``None`` when no value is zero.
    """

    def __init__(self, values: Iterable[np.ndarray]) -> None:
        flat = np.concatenate([np.ravel(part) for part in values] or [np.empty(0)])
        finite = flat[np.isfinite(flat)]
        positive = finite[finite > 0]
        smallest, largest = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
        margin = max(0.04 * math.log10(largest / smallest), 0.05)
        self.upper = float(largest * 10**margin)
        self.zero = float(smallest * 10**-_DECADES_BELOW) if (finite == 0).any() else None
        self.lower = float((self.zero or smallest) * 10**-margin)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Put values on the axis: zeros at their own place, everything else where it belongs."""
        return values if self.zero is None else np.where(values == 0, self.zero, values)

    @property
    def decades(self) -> list[int]:
        """Exponents of the powers of ten to label, eight at most."""
        bottom = self.lower if self.zero is None else self.zero * 10 ** (_DECADES_BELOW / 2)
        first, last = math.ceil(math.log10(bottom)), math.floor(math.log10(self.upper))
        step = max(1, math.ceil((last - first + 1) / 8))
        return list(range(first, last + 1, step))

    def apply(self, axes: Axes, which: str = "y") -> None:
        """Make ``which`` ("x" or "y") of ``axes`` this scale."""
        axes.set(**{f"{which}scale": "log"})
        axis = axes.yaxis if which == "y" else axes.xaxis
        ticks, labels = self._ticks()
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(FixedFormatter(labels))
        axis.set_minor_locator(FixedLocator([]))
        (axes.set_ylim if which == "y" else axes.set_xlim)(self.lower, self.upper)

    def _ticks(self) -> tuple[list[float], list[str]]:
        ticks, labels = [10.0**decade for decade in self.decades], [decade_label(decade) for decade in self.decades]
        if len(ticks) < 2:  # less than a decade: label round numbers in between
            ticks, labels = self._round_numbers()
        if self.zero is not None:
            ticks, labels = [self.zero, *ticks], ["0", *labels]
        return ticks, labels

    def _round_numbers(self) -> tuple[list[float], list[str]]:
        bottom = self.lower if self.zero is None else self.zero * 10 ** (_DECADES_BELOW / 2)
        exponents = range(math.floor(math.log10(bottom)), math.ceil(math.log10(self.upper)) + 1)
        chosen = [float(f"{d}e{e}") for e in exponents for d in (1, 2, 5) if bottom <= float(f"{d}e{e}") <= self.upper]
        return chosen, [f"{tick:g}" for tick in chosen]


def decade_label(exponent: int) -> str:
    """Write a power of ten plainly where that is short.

    >>> decade_label(-2), decade_label(0), decade_label(3), decade_label(-5)
    ('0.01', '1', '1,000', '10⁻⁵')
    """
    if -3 <= exponent <= 3:
        return f"{10.0**exponent:,.{max(0, -exponent)}f}"
    return f"10{superscript(exponent)}"
