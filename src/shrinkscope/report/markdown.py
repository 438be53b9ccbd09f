"""Markdown of tables and intervals."""

from collections.abc import Iterable, Sequence

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
