"""The store of records: one SQLite file that several processes write and that survives being killed."""

import datetime
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from shrinkscope.errors import StoreError
from shrinkscope.experiments.exported import chosen_rows, write_export
from shrinkscope.experiments.records import NETWORK, Cell, Record, Run
from shrinkscope.experiments.schema import CELL_COLUMNS, RECORD_COLUMNS, RUN_COLUMNS, connect, prepare

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "Store"]


class Store:
    """Runs and their records in an SQLite file in WAL mode.

    Each write is one transaction: a process killed at any moment loses the epochs of its cell that it has not written,
    and nothing else. Use as a context manager, or ``close``.

    Args:
        path: The file; created, with its folder, unless ``create`` is False: then the folder of a study will do, too.
        create: Whether a missing file is created.

    Raises:
        StoreError: If the file is missing, cannot be written, is damaged, is not a store, or is one of another
            version.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        self.path = Path(path)
        if not create and (self.path / _NAME).is_file():
            self.path = self.path / _NAME
        if not create and not self.path.is_file():
            raise StoreError(f"{self.path}: no such file; expected a store of records")
        self._connection = connect(self.path)
        try:
            with self._failures("open"):
                prepare(self._connection, self.path)
        except StoreError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the last to close it folds the write-ahead log back into it."""
        self._connection.close()

    def begin(self, run: Run) -> None:
        """Enter a run, unless it is there: then it is being resumed.

        Args:
            run: The run.

        Raises:
            StoreError: If the file cannot be written.
        """
        with self._transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(run)
            )

    def forget(self, run: str) -> None:
        """Remove a run with all its records, if it is there.

        Args:
            run: Its key.

        Raises:
            StoreError: If the file cannot be written.
        """
        with self._transaction():
            for table in ("records", "cells", "runs"):
                self._connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))  # noqa: S608  # our own names

    def write_epochs(self, run: str, cell: Cell, records: Iterable[Record]) -> None:
        """Write epochs of a cell that goes on, all of them or nothing; ``records`` leaves them out till then.

        Args:
            run: Key of a run that has begun.
            cell: The cell.
            records: The numbers of some epochs.

        Raises:
            StoreError: If the file cannot be written; then it is as it was.
        """
        key = (run, *msgspec.structs.astuple(cell))
        rows = [_row(key, record) for record in records]
        with self._transaction():
            self._connection.executemany(f"INSERT OR REPLACE INTO records VALUES ({_marks(RECORD_COLUMNS)})", rows)  # noqa: S608

    def epochs(self, run: str, cell: Cell, last: int) -> list[Record]:
        """The numbers of a cell up to an epoch, finished or not, in the order of writing.

        Args:
            run: Key of the run.
            cell: The cell.
            last: The last epoch.

        Raises:
            StoreError: If the file is damaged.
        """
        columns = RECORD_COLUMNS[5:]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM records WHERE {_MATCH} AND epoch <= ? ORDER BY rowid",  # noqa: S608
            (run, *msgspec.structs.astuple(cell), last),
        )
        return [msgspec.convert(dict(zip(columns, row, strict=True)), Record) for row in rows]

    def write_cell(self, run: str, cell: Cell, records: Iterable[Record], seconds: float, hardware: str = "") -> None:
        """Write a finished cell, all of it or nothing; a cell that is there is replaced.

        Args:
            run: Key of a run that has begun.
            cell: The cell.
            records: Its numbers.
            seconds: Wall-clock time that it took.
            hardware: Machine that it was computed on.

        Raises:
            StoreError: If the file cannot be written; then it is as it was.
        """
        key = (run, *msgspec.structs.astuple(cell))
        rows = [_row(key, record) for record in records]
        with self._transaction():
            self._connection.execute(f"DELETE FROM records WHERE {_MATCH}", key)  # noqa: S608
            self._connection.executemany(f"INSERT INTO records VALUES ({_marks(RECORD_COLUMNS)})", rows)  # noqa: S608
            self._connection.execute(
                f"INSERT OR REPLACE INTO cells VALUES ({_marks(CELL_COLUMNS)})",  # noqa: S608
                (*key, seconds, _now(), hardware),
            )

    def runs(self, run: str | None = None) -> list[Run]:
        """All runs, the oldest first; or one alone.

        Args:
            run: Key of one run.

        Raises:
            StoreError: If the file is damaged or the run is unknown.
        """
        rows = self._rows(f"SELECT {', '.join(RUN_COLUMNS)} FROM runs ORDER BY started, run")  # noqa: S608
        found = [msgspec.convert(dict(zip(RUN_COLUMNS, row, strict=True)), Run) for row in rows]
        if run is None:
            return found
        chosen = [entry for entry in found if entry.run == run]
        if not chosen:
            held = ", ".join(entry.run for entry in found) or "none"
            raise StoreError(f"{self.path} holds no run {run}; it holds {held}")
        return chosen

    def finished(self, run: str) -> set[Cell]:
        """The cells of a run that are complete.

        Args:
            run: Its key.

        Raises:
            StoreError: If the file is damaged.
        """
        rows = self._rows("SELECT trial, scope, method, level FROM cells WHERE run = ?", (run,))
        return {Cell(trial=trial, scope=scope, method=method, level=level) for trial, scope, method, level in rows}

    def records(self, run: str | None = None, *, totals: bool = False) -> "pd.DataFrame":
        """The long table: one row per run, trial, scope, method, level, epoch, layer and metric.

        Args:
            run: Key of one run; all runs by default.
            totals: Leave out the rows of single layers.

        Returns:
            A table in an order that does not depend on which process wrote first; layers in the network's order, NaN
            where a value or standard error is missing.

        Raises:
            StoreError: If the file is damaged or the run is unknown.
        """
        import pandas as pd

        if run is not None:
            self.runs(run)
        chosen = {"run = ?": run, "layer = ?": NETWORK if totals else None}
        given = {condition: value for condition, value in chosen.items() if value is not None}
        where, parameters = f"WHERE {' AND '.join(given)}" if given else "", tuple(given.values())
        # Those of finished cells: the others have some of their epochs only.
        query = (
            f"SELECT {', '.join(RECORD_COLUMNS)} FROM records "  # noqa: S608
            f"JOIN cells USING (run, trial, scope, method, level) {where} "
            "ORDER BY run, trial, scope, method, level, epoch, records.rowid"
        )
        table = pd.DataFrame.from_records(self._rows(query, parameters), columns=list(RECORD_COLUMNS))
        return table.astype({"value": "float64", "standard_error": "float64", "level": "float64"})

    def export(
        self,
        path: str | os.PathLike[str],
        run: str | None = None,
        *,
        metrics: Sequence[str] = (),
        totals: bool = False,
    ) -> None:
        """Write the long table to a file, all or nothing.

        Args:
            path: A .parquet file, which also keeps what the runs are of, or a .csv file.
            run: Key of one run; all runs by default.
            metrics: Patterns of metrics, such as ``pd_*``; all without any.
            totals: Leave out the rows of single layers.

        Raises:
            OutputError: If the suffix is neither, or the file cannot be written.
            StoreError: If the store is damaged, or the run or a metric is unknown.
        """
        write_export(path, self.runs(run), chosen_rows(self.records(run), metrics, totals))

    def _rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._failures("read"):
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._failures("write"):
            # Immediate: a transaction that began as a reader would fail, not wait, when another process has written.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _failures(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot {action} the store {self.path}: {error}; {_remedy(error)}") from error


_NAME = "records.sqlite"
_MATCH = "run = ? AND trial = ? AND scope = ? AND method = ? AND level = ?"


def _row(key: tuple[object, ...], record: Record) -> tuple[object, ...]:
    return (*key, *msgspec.structs.astuple(record))


def _marks(columns: tuple[str, ...]) -> str:
    return ", ".join("?" * len(columns))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _remedy(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError):
        return "is the disk full or read-only, or the file locked? Finished cells are kept: run the same command again"
    return "is it damaged or another kind of file? Move it away or choose another folder"
