"""Ranges of objects on web servers: each answer is checked before its body is read."""

import re
from typing import Any

import aiohttp
import yarl
from fsspec.asyn import sync

from shrinkscope.errors import WeightsError
from shrinkscope.weights.remote.location import Location
from shrinkscope.weights.remote.version import Version, changed

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
_PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)  # seconds without a byte
_GONE, _REFUSED, _NOT_IN_RANGE = (404, 410), (401, 403), 416
_OVERLOADED = 429


class Web:
    """Reads through the session of fsspec's file system for http and https, and its settings.

    Args:
        system: The file system.
    """

    tells_versions = True

    def __init__(self, system: Any) -> None:
        self._system = system

    def look(self, location: Location, length: int) -> tuple[Version | None, bytes]:
        """What is told of an object, and its first bytes: one request; no version where it is meant as a directory.

        A HEAD request would tell less: signed URLs refuse it.

        Args:
            location: The object.
            length: Bytes that are wanted.

        Raises:
            FileNotFoundError: If it is not there.
            PermissionError: If the server refuses it.
            WeightsError: If the server does not serve ranges.
        """
        if location.path.endswith("/"):
            return None, b""
        version, data = self._answer(location, 0, length, None)
        return version, bytes(data)

    def range(self, location: Location, known: Version, begin: int, stop: int) -> bytearray:
        """The bytes [begin, stop) of an object.

        Raises:
            WeightsError: If the server does not serve ranges, or the object is another version than the known one.
        """
        return self._answer(location, begin, stop, known)[1]

    def names(self, location: Location) -> list[str]:
        """Not told by web servers.

        Raises:
            WeightsError: Always.
        """
        raise WeightsError(f"{location.shown}: a web server lists nothing; name one file")

    def _answer(self, location: Location, begin: int, stop: int, known: Version | None) -> tuple[Version, bytearray]:
        found: Any = sync(self._system.loop, self._get, location, begin, stop, known)
        return found

    async def _get(self, location: Location, begin: int, stop: int, known: Version | None) -> tuple[Version, bytearray]:
        session = await self._system.set_session()
        options = dict(self._system.kwargs)
        # Compressed on its way, a range would be one of the compressed bytes.
        told = {"Range": f"bytes={begin}-{stop - 1}", "Accept-Encoding": "identity"}
        headers = {**options.pop("headers", {}), **told}
        # What is escaped or signed already must not be escaped again.
        url = yarl.URL(location.url, encoded="%" in location.url or bool(location.query))
        async with session.get(url, **{"timeout": _PATIENCE, **options, "headers": headers}) as answer:
            _require_served(answer, location)
            size = _size(answer, location, begin, stop)
            version = Version.of(size, answer.headers)
            if known is not None and not known.same(version):
                raise changed(location)
            length = max(min(stop, size) - begin, 0)
            return version, await _body(answer, length)


def _require_served(answer: aiohttp.ClientResponse, location: Location) -> None:
    if answer.status in _GONE:
        raise FileNotFoundError(f"status {answer.status}")
    if answer.status in _REFUSED:
        raise PermissionError(f"status {answer.status}")
    if answer.status == _OVERLOADED or answer.status >= 500:
        raise ConnectionError(f"status {answer.status}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsError(f"{location.shown}: the server compresses what it sends, so ranges mean nothing; {_INSTEAD}")


def _size(answer: aiohttp.ClientResponse, location: Location, begin: int, stop: int) -> int:
    """Bytes of the object, when the answer holds the range that was asked for."""
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status == _NOT_IN_RANGE:
        if begin == 0 and found is not None and int(found[3]) == 0:
            return 0
        raise changed(location)
    length = answer.headers.get("Content-Length", "")
    if answer.status == 200 and begin == 0 and length.isdigit() and int(length) <= stop:
        return int(length)  # a small object, sent whole: what was asked for
    if answer.status == 200:
        raise WeightsError(f"{location.shown}: the server does not serve ranges of it; {_INSTEAD}")
    if answer.status != 206 or found is None or found[1] is None or int(found[1]) != begin:
        raise WeightsError(f"{location.shown}: the server answers a range with status {answer.status}; {_INSTEAD}")
    return int(found[3])


async def _body(answer: aiohttp.ClientResponse, length: int) -> bytearray:
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > length:
            break
    if len(data) != length:
        raise ConnectionError(f"{len(data)} bytes or more came where {length} were asked for")
    return data


_INSTEAD = "download it, and give the path of the file"
