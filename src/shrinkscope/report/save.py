"""Handing a comparison or an explanation over as a file."""

import os
from pathlib import Path

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.errors import OutputError

SUFFIXES = (".html", ".json", ".csv", ".parquet")


def save_comparison(
    result: Comparison | Explanation, path: str | os.PathLike[str], *, group_by: str | None = None
) -> None:
    """Write a comparison or an explanation as a report or as data, all or nothing.

    Args:
        result: The comparison or the explanation.
        path: The file; .html is a report, .json has everything, .csv and .parquet have the rows of the layers.
        group_by: ``layer``, ``block``, ``role`` or ``expert``: .csv and .parquet have the rows of these groups, and
            the .json of a comparison has them as well; a report has groups in any case.

    Raises:
        SelectionError: If there is no grouping of that name.
        OutputError: If the suffix is another, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"cannot write {path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    if suffix == ".html":
        # Drawing needs matplotlib, which the other formats can do without.
        from shrinkscope.report.html import comparison_report, write_report

        write_report(path, comparison_report(result))
        return
    comparison = result.comparison if isinstance(result, Explanation) else result
    if group_by is not None and not (suffix == ".json" and isinstance(result, Explanation)):
        comparison.grouped_by(group_by).save(path)
    elif suffix == ".json":
        result.save(path)
    else:
        comparison.save(path)
