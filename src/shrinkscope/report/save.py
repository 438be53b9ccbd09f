"""Handing a comparison or an explanation over as a file."""

import os
from pathlib import Path

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.errors import OutputError

SUFFIXES = (".html", ".json", ".csv", ".parquet")


def save_comparison(result: Comparison | Explanation, path: str | os.PathLike[str]) -> None:
    """Write a comparison or an explanation as a report or as data, all or nothing.

    Args:
        result: The comparison or the explanation.
        path: The file; .html is a report, .json has everything, .csv and .parquet have the rows of the layers.

    Raises:
        OutputError: If the suffix is another, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"cannot write {path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    if suffix == ".html":
        # Drawing needs matplotlib, which the other formats can do without.
        from shrinkscope.report.html import comparison_report, write_report

        write_report(path, comparison_report(result))
    elif suffix == ".json" or isinstance(result, Comparison):
        result.save(path)
    else:
        result.comparison.save(path)
