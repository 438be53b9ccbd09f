"""Ranges of objects in any storage that fsspec has a backend for."""

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
        # A backend without ranges of its own opens a file for each, which would read ahead.
        own = system.async_impl or type(system).cat_file is not AbstractFileSystem.cat_file
        self._options = {} if own else {"cache_type": "none"}

    def look(self, location: Location, length: int) -> tuple[Version | None, bytes]:
        """What is told of an object; no version for a directory, and none of its bytes, which cost another request.

        Raises:
            FileNotFoundError: If it is not there.
        """
        # What a backend remembers of a listing is no news of the object.
        self._system.invalidate_cache()
        told = self._system.info(self._path(location))
        return (None if told["type"] == "directory" else Version.of(int(told["size"]), told)), b""

    def range(self, location: Location, known: Version, begin: int, stop: int) -> bytes:
        """The bytes [begin, stop) of an object, of whatever version."""
        data = self._system.cat_file(self._path(location), start=begin, end=stop, **self._options)
        if len(data) != stop - begin:
            raise ConnectionError(f"{len(data)} bytes came of {stop - begin}")
        return data

    def names(self, location: Location) -> list[str]:
        """The names of what lies in a directory."""
        path = self._path(location).rstrip("/")
        entries = self._system.ls(path, detail=False)
        return sorted({entry.rstrip("/").rpartition("/")[2] for entry in entries if entry.rstrip("/") != path})

    def _path(self, location: Location) -> str:
        return self._system._strip_protocol(location.url)
