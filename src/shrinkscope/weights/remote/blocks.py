"""Blocks of objects that were read, so that headers and small tensors do not each cost a request."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future

BLOCK = 1 << 19
"""Bytes of a block; blocks begin at its multiples. A request for less costs no less on any object store."""

SMALL = 1 << 20
"""Bytes from which on a read passes by the blocks, but for those at its two ends."""

LARGEST = 17 * BLOCK
"""Bytes of a request: a chunk of 16-bit weights and the block that its ends share; what is lost when it fails."""

_KEPT = 64  # blocks: 32 MiB

Fetch = Callable[[int, int], bytes | bytearray]
"""Reads the bytes [begin, stop) of an object."""

_Key = tuple[str, int]


class Blocks:
    """The blocks read last; what one thread is fetching another one waits for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._coming: dict[_Key, Future[bytes]] = {}
        self._lock = threading.Lock()

    def put(self, source: str, number: int, data: bytes) -> None:
        """Keep a block.

        Args:
            source: The object.
            number: Which of its blocks.
            data: Its bytes.
        """
        with self._lock:
            self._keep((source, number), data)

    def read(self, source: str, size: int, begin: int, length: int, fetch: Fetch) -> bytearray:
        """The bytes [begin, begin + length) of an object, as far as it has them.

        Blocks at the ends of a large read are kept, since tensors that lie next to it share them: each byte of a file
        that is read in order is fetched once.

        Args:
            source: The object.
            size: Its bytes.
            begin: First byte.
            length: Number of bytes.
            fetch: Reads from the object; called from this thread, with blocks in their order.
        """
        stop = min(begin + length, size)
        found = bytearray(max(stop - begin, 0))
        numbers = range(begin // BLOCK, -(-stop // BLOCK)) if stop > begin else range(0)
        missing, waiting = self._claim(source, size, numbers, begin, stop, found)
        try:
            for first, last in _runs(missing, LARGEST // BLOCK):
                data = fetch(first * BLOCK, min((last + 1) * BLOCK, size))
                _copy(data, first * BLOCK, found, begin)
                self._arrived(source, first, data)
        except BaseException as error:
            self._failed(source, missing, error)
            raise
        for number, future in waiting:
            _copy(future.result(), number * BLOCK, found, begin)
        return found

    def _claim(
        self, source: str, size: int, numbers: range, begin: int, stop: int, found: bytearray
    ) -> tuple[list[int], list[tuple[int, "Future[bytes]"]]]:
        """Copy what is kept; the blocks that this thread is to fetch, and those that another one is fetching."""
        missing: list[int] = []
        waiting: list[tuple[int, Future[bytes]]] = []
        with self._lock:
            for number in numbers:
                key = source, number
                if key in self._kept:
                    self._kept.move_to_end(key)
                    _copy(self._kept[key], number * BLOCK, found, begin)
                elif key in self._coming:
                    waiting.append((number, self._coming[key]))
                else:
                    missing.append(number)
                    inside = begin <= number * BLOCK and min((number + 1) * BLOCK, size) <= stop
                    if stop - begin < SMALL or not inside:
                        self._coming[key] = Future()
        return missing, waiting

    def _arrived(self, source: str, first: int, data: bytes | bytearray) -> None:
        for shift in range(0, len(data), BLOCK):
            key = source, first + shift // BLOCK
            with self._lock:
                future = self._coming.pop(key, None)
                if future is not None:
                    block = bytes(data[shift : shift + BLOCK])
                    self._keep(key, block)
                    future.set_result(block)

    def _failed(self, source: str, numbers: Iterable[int], error: BaseException) -> None:
        for number in numbers:
            with self._lock:
                future = self._coming.pop((source, number), None)
            if future is not None:
                future.set_exception(error)

    def _keep(self, key: _Key, data: bytes) -> None:
        self._kept[key] = data
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _runs(numbers: list[int], longest: int) -> Iterable[tuple[int, int]]:
    """First and last of the blocks that lie one after another, at most so many."""
    first = last = None
    for number in numbers:
        if first is not None and last is not None and number == last + 1 and number - first < longest:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last


def _copy(data: bytes | bytearray, place: int, found: bytearray, begin: int) -> None:
    """Copy the part of ``data``, which lies at ``place`` of the object, that belongs to what begins at ``begin``."""
    low, high = max(place, begin), min(place + len(data), begin + len(found))
    if high > low:
        found[low - begin : high - begin] = memoryview(data)[low - place : high - place]
