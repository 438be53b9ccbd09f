"""Whole numbers as text, as in a list of pages: ``0,3,5-8``."""

from collections.abc import Iterable

from shrinkscope.errors import StoreError


def text_of(numbers: Iterable[int]) -> str:
    """Numbers as text, runs of three and more shortened.

    Args:
        numbers: Whole numbers from 0 on, each once.

    Examples:
        >>> text_of([0, 3, 5, 6, 7, 8])
        '0,3,5-8'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(
        ",".join(map(str, range(first, last + 1))) if last - first < 2 else f"{first}-{last}" for first, last in runs
    )


def numbers_in(text: str) -> list[int]:
    """The numbers that a text stands for.

    Args:
        text: As ``text_of`` writes it; empty for none.

    Raises:
        StoreError: If it is something else.

    Examples:
        >>> numbers_in("0,3,5-8")
        [0, 3, 5, 6, 7, 8]
    """
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or not (last if dash else first).isdecimal():
            raise StoreError(f"channels are {text!r}; expected numbers and ranges, such as 0,3,5-8")
        found += range(int(first), int(last or first) + 1)
    return found
