"""Records outside a store: a file of the long table, and in Parquet the runs that it is of."""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.errors import OutputError, StoreError
from shrinkscope.experiments.records import NETWORK, Run
from shrinkscope.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

_RUNS = b"shrinkscope.runs"


def chosen_rows(table: "pd.DataFrame", metrics: Sequence[str], totals: bool) -> "pd.DataFrame":
    """The rows that an export is to have.

    Args:
        table: The long table.
        metrics: Patterns of metrics, such as ``pd_*``; all without any.
        totals: Leave out the rows of single layers.

    Raises:
        StoreError: If a pattern fits no metric.
    """
    names = table["metric"].drop_duplicates().tolist()
    for pattern in metrics:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise StoreError(f"no metric is called {pattern}; the records have {', '.join(sorted(names)) or 'none'}")
    wanted = {name for name in names if not metrics or any(fnmatchcase(name, pattern) for pattern in metrics)}
    rows = table["metric"].isin(list(wanted))
    return table.loc[rows & (table["layer"] == NETWORK)] if totals else table.loc[rows]


def write_export(path: str | os.PathLike[str], runs: Sequence[Run], table: "pd.DataFrame") -> None:
    """Write a long table to a file, all or nothing.

    Args:
        path: A .parquet or .csv file; Parquet keeps the runs beside the table.
        runs: The runs of the table.
        table: The long table.

    Raises:
        OutputError: If the suffix is neither, or the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in (".parquet", ".csv"):
        raise OutputError(f"cannot export to {path}: unknown suffix {suffix!r}; expected .parquet or .csv")
    with atomic_path(path) as temporary:
        if suffix == ".csv":
            table.to_csv(temporary, index=False)
            return
        import pyarrow
        from pyarrow import parquet

        found = pyarrow.Table.from_pandas(table, preserve_index=False)
        metadata = {**(found.schema.metadata or {}), _RUNS: msgspec.json.encode(list(runs))}
        parquet.write_table(found.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_export(path: str | os.PathLike[str]) -> "tuple[list[Run], pd.DataFrame]":
    """The runs and the long table of a Parquet file that ``write_export`` wrote.

    Args:
        path: The file.

    Raises:
        StoreError: If it is not there, or no such file.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with Path(path).open("rb") as file:
            found = parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a Parquet file"
        raise StoreError(f"cannot read {path}: {reason}") from error
    kept = (found.schema.metadata or {}).get(_RUNS)
    if kept is None:
        raise StoreError(f"{path} is no export of a store: it names no runs; expected one of shrinkscope runs --export")
    return msgspec.json.decode(kept, type=list[Run]), found.to_pandas()
