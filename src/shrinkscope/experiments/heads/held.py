"""Which folder heads are trained in: one's own while other processes train others, or what a killed one left behind."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from shrinkscope.errors import OutputError
from shrinkscope.experiments.heads.working import Working
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import StudyError
from shrinkscope.files import write_text

_CELLS, _LOCK = "cells.json", "lock"


@contextmanager
def held(
    parent: Path, kind: str, wanted: Sequence[Cell], finished: Callable[[Cell], bool]
) -> Iterator[tuple[Working, list[Cell]]]:
    """A folder to train some cells in, which no other process takes; it is removed when the block ends well.

    A lock goes with the process that holds it, so that the folder of one that was killed is told from that of one that
    is at work. What was left behind is taken up if all cells that are wanted are among its own; it is removed if some
    are, or if all of its own are finished; otherwise it waits for the command that it is of.

    Args:
        parent: Folder of the networks of a run.
        kind: What the folder's name has, ``dense`` or ``pruned``.
        wanted: The cells.
        finished: Whether a cell is.

    Yields:
        The folder, and the cells to train in it: those that are wanted, or more if a training is taken up.

    Raises:
        StudyError: If another process is training some of the cells.
        OutputError: If the folder cannot be written.
    """
    name = f"heads-{kind}"
    with _locked(parent / "heads.lock"):
        folder, cells = _left_behind(parent, name, wanted, finished) or _new(parent, name, wanted)
        lock = _lock(folder)
    try:
        yield Working(folder), cells
        with _locked(parent / "heads.lock"):
            Working(folder).remove()
    finally:
        if lock is not None:
            lock.close()


def _left_behind(
    parent: Path, name: str, wanted: Sequence[Cell], finished: Callable[[Cell], bool]
) -> tuple[Path, list[Cell]] | None:
    found = None
    for folder in sorted(path for path in parent.glob(f"{name}*") if path.is_dir()):
        cells, shared = _cells(folder), set(wanted) & set(_cells(folder))
        lock = _lock(folder)
        if lock is _TAKEN:
            if shared:
                raise StudyError(
                    f"{len(shared)} of these cells, such as {min(map(str, shared))}, are being trained by another "
                    f"process in {folder}; run the same command again when it is done, or give another --only"
                )
            continue
        if found is None and cells and len(shared) == len(set(wanted)):
            found = folder, cells
        elif shared or not cells or all(map(finished, cells)):
            Working(folder).remove()
        if lock is not None:
            lock.close()
    return found


def _new(parent: Path, name: str, wanted: Sequence[Cell]) -> tuple[Path, list[Cell]]:
    text = msgspec.json.encode(list(wanted))
    folder = parent / f"{name}-{hashlib.blake2b(text, digest_size=4).hexdigest()}"
    write_text(folder / _CELLS, text.decode())
    return folder, list(wanted)


def _cells(folder: Path) -> list[Cell]:
    try:
        return msgspec.json.decode((folder / _CELLS).read_bytes(), type=list[Cell])
    except (OSError, msgspec.DecodeError):
        return []


class _Taken:
    """Another process holds the lock."""

    def close(self) -> None:
        """Nothing is held."""


_TAKEN = _Taken()


def _lock(folder: Path) -> "IO[str] | _Taken | None":
    """The lock of a folder, for as long as the file is open; None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows: two commands on one folder at once are not told apart
        return None
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_opened(folder / _LOCK))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _TAKEN
        stack.pop_all()
        return file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process looks for a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        raise OutputError(f"cannot train heads in {path.parent}: {error.strerror or error}") from error
