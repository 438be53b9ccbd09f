"""Writing files so that a failure leaves nothing half-written behind."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shrinkscope.errors import OutputError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends, or vanishes when it fails.

    Args:
        path: The file to write; its folder is created when it does not exist.

    Yields:
        A path of the same suffix in the same folder (a rename across file systems would not be atomic).

    Raises:
        OutputError: If the folder cannot be created or written, or the disk is full.
    """
    target = Path(path)
    try:
        temporary = _temporary_beside(target)
        try:
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; choose another place with --out"
        ) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, all or nothing.

    Args:
        path: The file to write.
        text: Its content.

    Raises:
        OutputError: If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_table(path: str | os.PathLike[str], text: Callable[[], str], table: Callable[[], "pd.DataFrame"]) -> None:
    """Write a result to a .json, .csv or .parquet file, all or nothing.

    Args:
        path: The file; its suffix decides the format.
        text: Gives everything as JSON.
        table: Gives the rows.

    Raises:
        OutputError: If the suffix is another, or the file cannot be written.
    """
    writers: Mapping[str, Callable[[Path], Any]] = {
        ".json": lambda file: file.write_text(text() + "\n", encoding="utf-8"),
        ".csv": lambda file: table().to_csv(file, index=False),
        ".parquet": lambda file: table().to_parquet(file, index=False),
    }
    write = writers.get(Path(path).suffix.lower())
    if write is None:
        raise OutputError(f"cannot write {path}: unknown suffix; expected one of {', '.join(sorted(writers))}")
    with atomic_path(path) as temporary:
        write(temporary)


def json_text(record: object) -> str:
    """Write a record as JSON text over several lines; numbers that JSON has not, NaN and the infinities, become null.

    Args:
        record: Anything that msgspec encodes; other objects, such as paths, as their text.
    """
    return msgspec.json.format(msgspec.json.encode(record, enc_hook=str)).decode()


def _temporary_beside(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    # mkstemp creates files only its owner can read; the result should have the permissions of any new file.
    temporary = Path(name)
    temporary.chmod(0o666 & ~_umask())
    return temporary


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
