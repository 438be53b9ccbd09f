"""Handing a comparison or an explanation over as a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from shrinkscope.analysis.comparison import Comparison
from shrinkscope.errors import OutputError

if TYPE_CHECKING:
    from shrinkscope.analysis.explain import Explanation

SUFFIXES = (".html", ".json", ".csv", ".parquet")


def save_comparison(
    result: Comparison | Explanation,
    path: str | os.PathLike[str],
    *,
    group_by: str | None = None,
    sort: str | None = None,
) -> None:
    """Write a comparison or an explanation as a report or as data, all or nothing.

    Args:
        result: The comparison or the explanation.
        path: The file; .html is a report, .json has everything, .csv and .parquet have the rows of the layers and
            the total, which a column of that name marks.
        group_by: ``layer``, ``block``, ``role``, ``expert`` or ``mixture``: .csv and .parquet have the rows of these
            groups, and the .json of a comparison has them as well; a report has groups in any case.
        sort: Column by which the rows of .csv, .parquet and of a comparison's .json are sorted, the most damaged
            first; the order of the network when None. Tables of a report are sorted by whoever reads it.

    Raises:
        SelectionError: If there is no grouping or no column of that name.
        OutputError: If the suffix is another, or the file cannot be written.
    """
    suffix = require_suffix(path)
    if suffix == ".html":
        # Drawing needs matplotlib, which the other formats can do without.
        from shrinkscope.report.html import comparison_report, write_report

        write_report(path, comparison_report(result))
        return
    comparison = result if isinstance(result, Comparison) else result.comparison
    if sort is not None:
        comparison = comparison.sorted_by(sort)
    if group_by is not None and not (suffix == ".json" and not isinstance(result, Comparison)):
        groups = comparison.grouped_by(group_by)
        (groups if sort is None else groups.sorted_by(sort)).save(path)
    elif suffix == ".json" and not isinstance(result, Comparison):
        result.save(path)
    else:
        comparison.save(path)


def require_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a file to write, in lower case; checked before hours go into what it shall hold.

    Args:
        path: The file.

    Raises:
        OutputError: If nothing is written in that format.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"cannot write {path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
    return suffix
