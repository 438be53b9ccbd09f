"""Markdown of tables, and numbers with their intervals."""

from collections.abc import Iterable, Sequence

from shrinkscope.analysis.claims import PairedTau
from shrinkscope.analysis.concordance import Concordance
from shrinkscope.report.format import number


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table whose first column is text and whose others are numbers.

    >>> print(table(("a", "b"), [("x", "1")]))
    | a | b |
    |---|---:|
    | x | 1 |
    """
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def interval(value: float | None, lower: float | None, upper: float | None) -> str:
    """Write a number with its interval, two digits.

    >>> interval(0.5, 0.25, 0.75), interval(0.5, None, None), interval(None, None, None)
    ('0.50 [0.25, 0.75]', '0.50', 'n/a')
    """
    ends = "" if lower is None else f" [{number(lower, 2)}, {number(upper, 2)}]"
    return number(value, 2) + ends


def spread(found: Concordance | PairedTau) -> str:
    """Write what was found with its interval, or with the range of its clusters where they are too few for one.

    Args:
        found: A concordance, or a difference of two.

    Returns:
        For example ``0.94 [0.83, 1.0]``, or ``0.94 (0.83 to 1.0)`` with the lowest and the highest trial.
    """
    value = found.tau if isinstance(found, Concordance) else found.difference
    if found.least is None or found.most is None:
        return interval(value, found.lower, found.upper)
    return f"{number(value, 2)} ({number(found.least, 2)} to {number(found.most, 2)})"
