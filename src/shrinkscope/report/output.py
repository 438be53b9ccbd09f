"""Where reports are printed, and how wide they may be there."""

import os

from rich.console import Console

WIDEST = 120
"""Characters of the widest line that is still read easily."""


def standard_output(given: Console | None = None, *, without_terminal: int = WIDEST) -> Console:
    """The console to print to; a file or a pipe, which has no width of its own, is as wide as the widest line.

    Args:
        given: A console of the caller's choice.
        without_terminal: Characters of a line where there is no terminal and COLUMNS does not say.
    """
    if given is not None:
        return given
    found = Console(highlight=False)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=without_terminal)
