"""One connection to a storage: what was learned of its objects, the blocks read last, and its failures in one line."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from shrinkscope.errors import WeightsError
from shrinkscope.weights.remote.backend import Backend, first_line_without, opened
from shrinkscope.weights.remote.blocks import BLOCK, Blocks
from shrinkscope.weights.remote.location import Location
from shrinkscope.weights.remote.version import Version, changed

_PAUSE = 0.5  # seconds before the second attempt

_WHOLE = 1 << 27  # bytes of whole tensors that are kept, but for the last, which may be larger

_Found = TypeVar("_Found")


class Connection:
    """Reads objects of one storage; from several threads at once.

    Args:
        url: One of its URLs, from which some backends take their host and user.
        options: Settings of fsspec's backend: keys, endpoints.
        known: Objects that were looked at before, by another process perhaps, and the versions that are to be read.
    """

    def __init__(self, url: str, options: dict[str, Any], known: Mapping[Location, Version | None]) -> None:
        self._url, self._options = url, options
        self._blocks = Blocks()
        self._known = dict(known)
        self._missing: dict[Location, FileNotFoundError | PermissionError] = {}
        self._unconfirmed: set[Location] = set()
        self._lock = threading.Lock()
        self._whole: OrderedDict[tuple[Location, int, int], bytearray] = OrderedDict()
        self._whole_lock = threading.Lock()
        self._backend: Backend | None = None

    def version(self, location: Location) -> Version | None:
        """What is known of an object since it was first looked at; None for a directory.

        Raises:
            FileNotFoundError: If it is not there.
            PermissionError: If it may not be read.
            WeightsError: If the storage cannot be reached.
        """
        with self._lock:
            if location in self._known:
                return self._known[location]
            missing = self._missing.get(location)
        if missing is not None:
            raise missing
        try:
            version, data = self._tried(location, lambda: self._opened().look(location, BLOCK), absent=True)
        except (FileNotFoundError, PermissionError) as error:
            # Readers ask for the same configuration again and again.
            self._missing[location] = error.with_traceback(None)
            raise
        if data:
            self._blocks.put(location.url, 0, data)
        with self._lock:
            return self._known.setdefault(location, version)

    def read(self, location: Location, begin: int, length: int) -> bytearray:
        """The bytes [begin, begin + length) of an object.

        Raises:
            WeightsError: If they do not come, end too early, or are of another version than was opened.
        """
        known = self.present(location)
        if begin + length > known.size:
            raise WeightsError(f"{location.shown}: ends at byte {known.size} of {begin + length}; is it truncated?")

        def fetch(start: int, stop: int) -> bytes | bytearray:
            backend = self._opened()
            if not backend.tells_versions:
                with self._lock:
                    self._unconfirmed.add(location)
            return self._tried(location, lambda: backend.range(location, known, start, stop))

        return self._blocks.read(location.url, known.size, begin, length, fetch)

    def read_whole(self, location: Location, begin: int, length: int) -> bytearray:
        """The bytes [begin, begin + length) of an object, not to be changed, and kept for the next who asks.

        Formats that lie by columns ask for a whole tensor again for each block of rows, from several threads.

        Raises:
            WeightsError: As ``read`` does.
        """
        key = location, begin, length
        with self._whole_lock:
            if key not in self._whole:
                while self._whole and length + sum(map(len, self._whole.values())) > _WHOLE:
                    self._whole.popitem(last=False)
                self._whole[key] = self.read(location, begin, length)
            self._whole.move_to_end(key)
            return self._whole[key]

    def confirm(self) -> None:
        """Ask whether what was read since the last call was of the versions that were opened.

        Two looks at an object that find one version say that it did not change in between. Web servers tell the version
        with each answer, so that nothing is asked of them.

        Raises:
            WeightsError: If an object is another version, or is gone.
        """
        with self._lock:
            read, self._unconfirmed = self._unconfirmed, set()
        for location in read:
            found, _ = self._tried(location, lambda at=location: self._opened().look(at, 0))
            if found is None or not self.present(location).same(found):
                raise changed(location)

    def versions(self) -> dict[Location, Version | None]:
        """What was looked at and is there, in the order of the URLs: objects, and directories with None."""
        with self._lock:
            return dict(sorted(self._known.items(), key=lambda pair: pair[0].url))

    def names(self, location: Location) -> list[str]:
        """The names of what lies in a directory.

        Raises:
            WeightsError: If it cannot be listed.
        """
        return self._tried(location, lambda: self._opened().names(location))

    def present(self, location: Location) -> Version:
        """What is known of an object that has to be there.

        Raises:
            WeightsError: If it is not, may not be read, or is a directory.
        """
        try:
            version = self.version(location)
        except (FileNotFoundError, PermissionError) as error:
            raise self._failure(location, error) from None
        if version is None:
            raise WeightsError(f"{location.shown}: is a directory; expected an object")
        return version

    def _tried(self, location: Location, action: Callable[[], _Found], *, absent: bool = False) -> _Found:
        """Do it; a second time when the connection fails. With ``absent`` the caller takes care of a missing object."""
        for attempt in (1, 2):
            try:
                return action()
            except WeightsError:
                raise
            except Exception as error:
                final = isinstance(error, (FileNotFoundError, PermissionError))
                if final and absent:
                    raise
                if final or attempt == 2:
                    # Not chained: what a backend says may hold a signature.
                    raise self._failure(location, error) from None
            time.sleep(_PAUSE)
        raise AssertionError("two attempts end before this")

    def _failure(self, location: Location, error: Exception) -> WeightsError:
        said = first_line_without(error, self._url, self._options)
        if isinstance(error, FileNotFoundError):
            return WeightsError(f"{location.shown}: no such object ({said}); check its name")
        if isinstance(error, PermissionError):
            return WeightsError(
                f"{location.shown}: access is refused ({said}), which some storages also say of what is not there; "
                "check its name and your credentials"
            )
        return WeightsError(
            f"{location.shown}: cannot be read, tried twice ({said}); what --resume or a cache keeps is not lost"
        )

    def _opened(self) -> Backend:
        with self._lock:
            if self._backend is None:
                self._backend = opened(self._url, self._options)
            return self._backend
