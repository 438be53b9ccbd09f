"""Finished rows in an SQLite file, found again by the content of everything that decides their numbers."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Self, TypeVar

import msgspec

from shrinkscope.errors import StoreError

Row = TypeVar("Row", bound=msgspec.Struct)

_APPLICATION = 0x53685363
_MAGIC = b"SQLite format 3\0"
_PATIENCE = 60.0  # seconds; another process holds the lock for milliseconds


class RowCache(Generic[Row]):
    """Key → row, each written in a transaction of its own: a process killed at any moment loses what it was measuring.

    Args:
        path: An SQLite file, or a folder (existing, or without a suffix) that will hold one; created when missing.
        row: Type of the rows.
        file: Name of the file in a folder.

    Raises:
        StoreError: If the file is damaged or another kind of file, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], row: type[Row], file: str) -> None:
        given = Path(path)
        self.path = given / file if given.is_dir() or not given.suffix else given
        self.row = row
        self.damaged: list[str] = []
        with self._failures():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._require_sqlite()
            # isolation_level None: each statement is a transaction.
            self._connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        try:
            with self._failures():
                self._prepare()
        except StoreError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, key: str) -> Row | None:
        """The row of a key; None when it is not there, or is damaged, which ``damaged`` then says.

        Args:
            key: As ``digest`` makes it.

        Raises:
            StoreError: If the file cannot be read.
        """
        with self._failures():
            found = self._connection.execute("SELECT content, checksum FROM rows WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        content, checksum = found
        try:
            if digest([key.encode(), content]) != checksum:
                raise ValueError("its checksum is wrong")
            return msgspec.msgpack.decode(content, type=self.row)
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            self.damaged.append(f"a row of {self.path} is damaged ({error}); it was measured again")
            return None

    def put(self, key: str, row: Row) -> None:
        """Write a row at once.

        Args:
            key: As ``digest`` makes it.
            row: What was measured.

        Raises:
            StoreError: If the file cannot be written.
        """
        content = msgspec.msgpack.encode(row)
        with self._failures():
            self._connection.execute(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (key, content, digest([key.encode(), content]))
            )

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        application = execute("PRAGMA application_id").fetchone()[0]
        tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION and tables:
            raise StoreError(f"{self.path} is an SQLite file of another program; choose another place for the cache")
        execute(f"PRAGMA application_id = {_APPLICATION}")
        execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, content BLOB NOT NULL, checksum TEXT NOT NULL)")
        # In WAL mode NORMAL loses nothing when a process is killed; a power cut may lose the last rows, not the file.
        execute("PRAGMA synchronous = NORMAL")

    def _require_sqlite(self) -> None:
        # SQLite takes a file of a few bytes for an empty database, and would write over it.
        if self.path.exists():
            with self.path.open("rb") as file:
                head = file.read(len(_MAGIC))
            if head not in (b"", _MAGIC):
                raise StoreError(
                    f"{self.path} is no cache of shrinkscope: it is another kind of file; choose another one"
                )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot use the cache {self.path}: {error}; is the disk full or read-only, or the file damaged? "
                "Delete it, or choose another place"
            ) from error


def digest(parts: Iterable[bytes]) -> str:
    """A hash of several byte strings that tells where each one ends.

    Args:
        parts: The byte strings.
    """
    hashed = hashlib.blake2b(digest_size=20)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.hexdigest()
