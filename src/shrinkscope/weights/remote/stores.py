"""Ranges of objects in any storage that fsspec has a backend for."""

import threading
from typing import Any

from fsspec import AbstractFileSystem

from shrinkscope.weights.remote.location import Location
from shrinkscope.weights.remote.version import Version


class Stores:
    """Reads through one of fsspec's file systems.

    Args:
        system: The file system.
    """

    tells_versions = False

    def __init__(self, system: Any) -> None:
        self._system = system
        self._own = system.async_impl or type(system).cat_file is not AbstractFileSystem.cat_file
        self._idle: dict[Location, list[Any]] = {}
        self._lock = threading.Lock()

    def look(self, location: Location, length: int) -> tuple[Version | None, bytes]:
        """What is told of an object; no version for a directory, and none of its bytes, which cost another request.

        Raises:
            FileNotFoundError: If it is not there.
        """
        path = self._path(location)
        # What a backend remembers of a listing is no news of the object.
        self._system.invalidate_cache(path)
        told = self._system.info(path)
        return (None if told["type"] == "directory" else Version.of(int(told["size"]), told)), b""

    def range(self, location: Location, known: Version, begin: int, stop: int) -> bytes:
        """The bytes [begin, stop) of an object, of whatever version."""
        if self._own:
            data = self._system.cat_file(self._path(location), start=begin, end=stop)
        else:
            data = self._from_file(location, begin, stop)
        if len(data) != stop - begin:
            raise ConnectionError(f"{len(data)} bytes came of {stop - begin}")
        return data

    def names(self, location: Location) -> list[str]:
        """The names of what lies in a directory."""
        path = self._path(location).rstrip("/")
        entries = self._system.ls(path, detail=False)
        return sorted({entry.rstrip("/").rpartition("/")[2] for entry in entries if entry.rstrip("/") != path})

    def _from_file(self, location: Location, begin: int, stop: int) -> bytes:
        """By a file, where the backend has no ranges of its own; opening one costs requests: it is used again."""
        with self._lock:
            idle = self._idle.setdefault(location, [])
            file = idle.pop() if idle else None
        if file is None:
            file = self._system.open(self._path(location), "rb", cache_type="none")
        file.seek(begin)
        data = file.read(stop - begin)
        with self._lock:
            idle.append(file)  # one that failed is not used again
        return data

    def _path(self, location: Location) -> str:
        return self._system._strip_protocol(location.url)
