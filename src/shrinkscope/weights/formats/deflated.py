"""An array in a compressed member of a zip archive, unpacked from the front as it is read."""

from __future__ import annotations

import threading
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

import numpy as np

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import SIZES
from shrinkscope.weights.formats.archive import archive_of
from shrinkscope.weights.formats.checks import first_line
from shrinkscope.weights.formats.span import of_bytes
from shrinkscope.weights.remote.path import AnyPath

if TYPE_CHECKING:
    from torch import Tensor

_CURSORS = 4
"""Readers kept open: one for each thread that walks over the array, since going back means starting again."""

_SKIP = 1 << 20


class DeflatedMember:
    """The numbers of one compressed array.

    Args:
        path: The archive.
        member: Name of the member.
        begin: Length of the array's own header in bytes.
        kind: Type of the numbers, by its name.
        big_endian: Whether their bytes come in the other order.
    """

    def __init__(self, path: AnyPath, member: str, begin: int, kind: str, *, big_endian: bool) -> None:
        self._place = (path, member, begin, kind, big_endian)
        self._lock = threading.Lock()
        self._cursors: list[IO[bytes]] = []

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the archive again."""
        path, member, begin, kind, big_endian = self._place
        return _member, (path, member, begin, kind, big_endian)

    def __del__(self) -> None:
        while self._cursors:
            self._cursors.pop().close()

    def elements(self, start: int, stop: int) -> Tensor:
        """The elements [start, stop) of the array; what lies before them is unpacked and dropped.

        Raises:
            WeightsError: If the compressed bytes are damaged, or fewer than the archive says.
        """
        path, member, begin, kind, big_endian = self._place
        size = SIZES[kind]
        try:
            cursor = self._cursor(begin + start * size)
            data = bytearray(cursor.read((stop - start) * size))
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{path}: {member} cannot be unpacked ({first_line(error)}); fetch the file again"
            ) from error
        if len(data) != (stop - start) * size:
            raise WeightsError(f"{path}: {member} ends after {start * size + len(data)} bytes; is it truncated?")
        with self._lock:
            self._cursors.append(cursor)
            surplus = [self._cursors.pop(0)] if len(self._cursors) > _CURSORS else []
        for old in surplus:
            old.close()
        return of_bytes(np.frombuffer(data, dtype=np.uint8), kind, big_endian).tensor()

    def _cursor(self, position: int) -> IO[bytes]:
        """A reader that stands at the position; the one that has the least to unpack, or a new one."""
        path, member, *_ = self._place
        with self._lock:
            behind = [cursor for cursor in self._cursors if cursor.tell() <= position]
            cursor = max(behind, key=lambda one: one.tell(), default=None)
            if cursor is not None:
                self._cursors.remove(cursor)
        if cursor is None:
            with archive_of(path) as archive:
                cursor = archive.open(member)  # It keeps the archive's file open until it is closed itself.
        while (missing := position - cursor.tell()) > 0:
            if not cursor.read(min(missing, _SKIP)):
                raise EOFError("it ends too early")
        return cursor


def _member(path: AnyPath, member: str, begin: int, kind: str, big_endian: bool) -> DeflatedMember:
    return DeflatedMember(path, member, begin, kind, big_endian=big_endian)
