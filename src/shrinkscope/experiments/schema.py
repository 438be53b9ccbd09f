"""The tables of a store, and the check that a file is one."""

import sqlite3
from pathlib import Path

from shrinkscope.errors import StoreError

VERSION = 2
"""Kept in SQLite's user_version; changes when a table changes."""

APPLICATION = 0x53687253
"""Kept in SQLite's application_id: tells a store from the SQLite files of other programs."""

RUN_COLUMNS = ("run", "config_hash", "config", "versions", "seed", "hardware", "started")
CELL_COLUMNS = ("run", "trial", "scope", "method", "level", "seconds", "finished", "hardware")
RECORD_COLUMNS = (
    "run",
    "trial",
    "scope",
    "method",
    "level",
    "epoch",
    "layer",
    "metric",
    "value",
    "unit",
    "status",
    "standard_error",
    "reason",
)

_TABLES = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, config_hash TEXT NOT NULL, config TEXT NOT NULL, versions TEXT NOT NULL,
    seed INTEGER NOT NULL, hardware TEXT NOT NULL, started TEXT NOT NULL
);
CREATE TABLE cells (
    run TEXT NOT NULL REFERENCES runs, trial INTEGER NOT NULL, scope TEXT NOT NULL, method TEXT NOT NULL,
    level REAL NOT NULL, seconds REAL NOT NULL, finished TEXT NOT NULL, hardware TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, trial, scope, method, level)
);
CREATE TABLE records (
    run TEXT NOT NULL REFERENCES runs, trial INTEGER NOT NULL, scope TEXT NOT NULL, method TEXT NOT NULL,
    level REAL NOT NULL, epoch INTEGER NOT NULL, layer TEXT NOT NULL, metric TEXT NOT NULL,
    value REAL, unit TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('exact', 'bound', 'estimate')),
    standard_error REAL, reason TEXT,
    CHECK (value IS NOT NULL OR reason IS NOT NULL),
    PRIMARY KEY (run, trial, scope, method, level, epoch, layer, metric)
);
"""


# A writer holds the lock for milliseconds; a minute of waiting means that another process hangs.
_PATIENCE = 60.0
_MAGIC = b"SQLite format 3\0"


def connect(path: Path) -> sqlite3.Connection:
    """Open a file, or create it with its folder.

    Args:
        path: The file.

    Returns:
        A connection in autocommit mode.

    Raises:
        StoreError: If it cannot be opened or is of another kind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_sqlite(path)
        # isolation_level None: transactions begin and end where this module says, not where the driver guesses.
        return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot open the store {path}: {error}; choose a folder that can be written") from error


def _require_sqlite(path: Path) -> None:
    # SQLite takes a file of a few bytes for an empty database, and would write over it.
    if path.exists():
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if head not in (b"", _MAGIC):
            raise StoreError(f"{path} is no store: it is another kind of file; choose another one")


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file, bring those of version 1 up to date, or check that a file has them.

    Args:
        connection: Connection to the file, in autocommit mode.
        path: The file, for messages.

    Raises:
        StoreError: If it belongs to another program, or its tables are those of another version.
        sqlite3.Error: If it is damaged or cannot be written.
    """
    if _is_empty(connection):
        _create(connection)
    application, version = _stamp(connection)
    if (application, version) == (APPLICATION, 1):
        _migrate(connection)
        version = VERSION
    if application != APPLICATION:
        raise StoreError(f"{path} is an SQLite file of another program; choose another file for the records")
    if version != VERSION:
        raise StoreError(
            f"{path} is a store of version {version}, this shrinkscope reads version {VERSION}; "
            f"use the release that wrote it, or choose another file"
        )
    connection.execute("PRAGMA foreign_keys = ON")
    # In WAL mode NORMAL loses nothing when a process is killed; a power cut may lose the last cells, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")


def _create(connection: sqlite3.Connection) -> None:
    # WAL first, because the mode cannot change inside a transaction; it lasts with the file.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):  # another process may have been first
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection) -> None:
    """From version 1, whose cells did not say where they were computed: it was where the run began."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _stamp(connection)[1] == 1:  # another process may have been first
            connection.execute("ALTER TABLE cells ADD COLUMN hardware TEXT NOT NULL DEFAULT ''")
            connection.execute(
                "UPDATE cells SET hardware = (SELECT runs.hardware FROM runs WHERE runs.run = cells.run)"
            )
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_empty(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and _stamp(connection) == (0, 0)


def _stamp(connection: sqlite3.Connection) -> tuple[int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return application, connection.execute("PRAGMA user_version").fetchone()[0]
