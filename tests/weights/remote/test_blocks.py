import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.weights.remote import blocks as module
from shrinkscope.weights.remote.blocks import BLOCK, LARGEST, SMALL, Blocks


class Source:
    """Bytes that can be told apart, and what was fetched of them."""

    def __init__(self, size: int) -> None:
        self.data = bytes(range(251)) * (size // 251 + 1)
        self.data = self.data[:size]
        self.fetched: list[tuple[int, int]] = []

    def fetch(self, begin: int, stop: int) -> bytes:
        self.fetched.append((begin, stop))
        return self.data[begin:stop]

    @property
    def total(self) -> int:
        return sum(stop - begin for begin, stop in self.fetched)


SIZE = 3 * SMALL + 12345


@given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 2 * SMALL)), max_size=8), st.integers(1, 4))
def test_every_range_is_that_of_the_object(ranges, kept):
    source, blocks = Source(SIZE), Blocks()
    before, module._KEPT = module._KEPT, kept
    try:
        for begin, length in ranges:
            assert blocks.read("a", SIZE, begin, length, source.fetch) == source.data[begin : begin + length]
    finally:
        module._KEPT = before


def test_an_object_read_in_order_is_fetched_once():
    size = 40 * BLOCK + 77
    source, blocks = Source(size), Blocks()
    begin = 0
    for length in [8, 1000, 3 * BLOCK + 5, 20, 9, SMALL, 17 * BLOCK + 3, 100, size]:
        blocks.read("a", size, begin, length, source.fetch)
        begin += length
    assert source.total == size
    assert max(stop - start for start, stop in source.fetched) <= LARGEST


def test_small_ranges_share_a_request_and_objects_do_not():
    source, blocks = Source(SIZE), Blocks()
    for place in range(0, BLOCK, 1000):
        blocks.read("a", SIZE, place, 100, source.fetch)
    assert source.fetched == [(0, BLOCK)]
    blocks.read("b", SIZE, 0, 100, source.fetch)
    assert len(source.fetched) == 2


def test_a_block_that_was_given_is_not_fetched():
    source, blocks = Source(SIZE), Blocks()
    blocks.put("a", 0, source.data[:BLOCK])
    assert blocks.read("a", SIZE, 5, 7, source.fetch) == source.data[5:12]
    assert source.fetched == []


def test_threads_wait_for_a_block_that_another_one_fetches():
    source, blocks = Source(SIZE), Blocks()
    started = threading.Barrier(4)

    def slow(begin: int, stop: int) -> bytes:
        time.sleep(0.05)
        return source.fetch(begin, stop)

    def read(number: int) -> bytearray:
        started.wait(10)
        return blocks.read("a", SIZE, 100 * number, 50, slow)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(4)))
    assert found == [source.data[100 * k : 100 * k + 50] for k in range(4)]
    assert source.fetched == [(0, BLOCK)]


def test_a_failure_reaches_everybody_who_waits_and_is_not_kept():
    source, blocks = Source(SIZE), Blocks()
    begun, go = threading.Event(), threading.Event()

    def broken(begin: int, stop: int) -> bytes:
        begun.set()
        go.wait(10)
        raise ConnectionError("lost")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(blocks.read, "a", SIZE, 0, 10, broken)
        begun.wait(10)
        second = pool.submit(blocks.read, "a", SIZE, 5, 10, source.fetch)
        go.set()
        for future in (first, second):
            with pytest.raises(ConnectionError, match="lost"):
                future.result()
    assert blocks.read("a", SIZE, 0, 10, source.fetch) == source.data[:10]
