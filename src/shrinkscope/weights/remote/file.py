"""An object as a file that can be read and sought in, for libraries that want one."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shrinkscope.weights.remote.path import RemotePath

_AHEAD = 1 << 22
"""Bytes that are fetched at once, at most, when a file is read from the front on."""


class RangeFile(io.RawIOBase):
    """Reads in ranges, each twice as long as the one before while they follow each other.

    Args:
        path: The object.
    """

    def __init__(self, path: "RemotePath") -> None:
        self._path, self._size = path, path.stat().st_size
        self._position = self._begin = 0
        self._held = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere, which costs nothing."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"{self._path}: there is nothing before its first byte")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what CPython hands over
        """Fill the buffer with what comes next, as far as one range reaches."""
        end = self._begin + len(self._held)
        if not self._begin <= self._position < end:
            self._fetch(len(buffer), onward=self._position == end)
        shift = self._position - self._begin
        piece = self._held[shift : shift + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch(self, wanted: int, *, onward: bool) -> None:
        ahead = min(2 * len(self._held), _AHEAD) if onward else 0
        length = max(min(max(wanted, ahead), self._size - self._position), 0)
        self._begin = self._position
        self._held = bytes(self._path.read_range(self._begin, length)) if length else b""
