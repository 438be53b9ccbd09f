"""An object or directory behind a URL, with what readers of checkpoints use of a path."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from shrinkscope.errors import WeightsError
from shrinkscope.weights.remote.connection import Connection
from shrinkscope.weights.remote.file import RangeFile
from shrinkscope.weights.remote.location import Location
from shrinkscope.weights.remote.version import Version

_NETWORK = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
_NETWORK += ("adapter_model.safetensors",)
"""What a network's directory on a web server is asked for, in this order: it cannot be listed."""


class Status(msgspec.Struct, frozen=True):
    """What readers ask of a file's status."""

    st_size: int


class RemotePath:
    """A checkpoint that fsspec can reach: ``s3://…``, ``gs://…``, ``https://…``, ``hf://…`` and others.

    Only what is needed of it is read, always of the versions that it saw first. Its text, which goes into messages and
    reports, is without user, password and query; these and the options go with it to other processes.

    Args:
        url: Of an object, or of a directory; on a web server the latter ends with a slash.
        options: Settings of fsspec's backend, such as ``key``, ``secret`` and ``endpoint_url`` of s3fs.

    Raises:
        WeightsError: If it is no URL of one object or directory.
    """

    def __init__(self, url: str, **options: Any) -> None:
        location = Location.of(url)
        self._set(location, Connection(url, options, {}), options)

    def _set(self, location: Location, connection: Connection, options: dict[str, Any]) -> None:
        self._location, self._connection, self._options = location, connection, options

    def _other(self, location: Location) -> "RemotePath":
        other = RemotePath.__new__(RemotePath)
        other._set(location, self._connection, self._options)
        return other

    def __reduce__(self) -> tuple[object, ...]:
        """Another process reads the same versions itself."""
        return _again, (self._location, self._options, self._connection.versions())

    def __str__(self) -> str:
        return self._location.shown

    def __repr__(self) -> str:
        return f"RemotePath({self._location.shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._location == other._location

    def __hash__(self) -> int:
        return hash(self._location)

    def __truediv__(self, name: str) -> "RemotePath":
        return self._other(self._location.child(name))

    @property
    def name(self) -> str:
        """The last part of the URL's path."""
        return self._location.name

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        stem, dot, end = self.name.rpartition(".")
        return f".{end}" if dot and stem and end else ""

    @property
    def parent(self) -> "RemotePath":
        """The directory that it lies in."""
        return self._other(self._location.parent)

    def absolute(self) -> "RemotePath":
        """Itself."""
        return self

    def is_symlink(self) -> bool:
        """Storages have no links."""
        return False

    def exists(self) -> bool:
        """Whether there is an object or directory.

        Raises:
            WeightsError: If the storage cannot be reached, or refuses to tell.
        """
        try:
            self._connection.version(self._location)
        except FileNotFoundError:
            return False
        except PermissionError:
            self.stat()  # which says what to do
        return True

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        try:
            return self._connection.version(self._location) is None
        except (FileNotFoundError, PermissionError):
            return False

    def is_file(self) -> bool:
        """Whether it is an object that may be read; many storages refuse what is not there."""
        try:
            return self._connection.version(self._location) is not None
        except (FileNotFoundError, PermissionError):
            return False

    def iterdir(self) -> Iterator["RemotePath"]:
        """What lies in the directory; on a web server, which does not tell, the first name that a network has.

        Raises:
            WeightsError: If the directory cannot be listed.
        """
        if not self._location.web:
            yield from (self / name for name in self._connection.names(self._location))
            return
        found = next((self / name for name in _NETWORK if (self / name).is_file()), None)
        if found is None:
            raise WeightsError(f"{self}: holds none of {', '.join(_NETWORK)}; name one file")
        yield found

    def stat(self) -> Status:
        """Its size.

        Raises:
            WeightsError: If it is not there or may not be read.
        """
        return Status(self._connection.present(self._location).size)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object as a file.

        Args:
            mode: Only ``"rb"``.
        """
        if mode != "rb":
            raise ValueError(f"{self}: is only read")
        return io.BufferedReader(RangeFile(self), 1 << 16)

    def read_bytes(self) -> bytes:
        """The whole object."""
        return bytes(self.read_range(0, self.stat().st_size))

    def read_range(self, begin: int, length: int) -> bytearray:
        """The bytes [begin, begin + length).

        Raises:
            WeightsError: If they do not come, end too early, or are of another version than was opened.
        """
        return self._connection.read(self._location, begin, length)

    def read_whole(self, begin: int, length: int) -> bytearray:
        """The bytes [begin, begin + length), not to be changed: the last ones that were read so are kept.

        Raises:
            WeightsError: As ``read_range`` does.
        """
        return self._connection.read_whole(self._location, begin, length)

    def confirm(self) -> None:
        """Ask whether what was read here and beside it since the last call was what had been opened.

        Raises:
            WeightsError: If it was not.
        """
        self._connection.confirm()

    def identity(self) -> tuple[str, ...] | None:
        """What tells the content of everything that was read here or beside it from any other; None when nothing does.

        That is a strong ETag, a hash, a generation or a version number, of each object.
        """
        found = [(location, version) for location, version in self._connection.versions().items() if version]
        if not all(version.strong for _, version in found):
            return None
        return tuple(f"{location.key} {version.size} {version.marks}" for location, version in found)


def _again(location: Location, options: dict[str, Any], known: dict[Location, Version | None]) -> RemotePath:
    path = RemotePath.__new__(RemotePath)
    path._set(location, Connection(location.url, options, known), options)
    return path


AnyPath = Path | RemotePath
"""Where a checkpoint is read from."""
