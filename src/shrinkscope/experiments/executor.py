"""Carrying out cells in one process: the numbers go to the store, the networks to their folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch

from shrinkscope.experiments.config import Study
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.study import Bench


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What all cells of one run share.

    Attributes:
        study: The study.
        run: Key of its run in the store.
        store: Path of the store.
        networks: Folder of the networks.
    """

    study: Study
    run: str
    store: str
    networks: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a cell.

    Attributes:
        cell: The cell.
        seconds: Wall-clock time that it took; 0 when it failed.
        error: One line when it failed, otherwise None.
    """

    cell: Cell
    seconds: float = 0.0
    error: str | None = None


class Executor:
    """Carries out cells, one thread each, and writes each when it is finished.

    Args:
        task: What the cells share; the run has begun.

    Raises:
        StoreError: If the store cannot be opened.
    """

    def __init__(self, task: Task) -> None:
        self._run = task.run
        self._bench = Bench(task.study, Path(task.networks))
        self._store = Store(task.store, create=False)

    def carry_out(self, cell: Cell) -> Answer:
        """Carry out one cell, and write its network and then its records.

        Args:
            cell: The cell.

        Returns:
            The time that it took.

        Raises:
            ShrinkscopeError: If it fails for a reason that is known.
        """
        started = time.perf_counter()
        with one_thread():
            records = self._bench.carry_out(cell)
        seconds = time.perf_counter() - started
        self._store.write_cell(self._run, cell, records, seconds)
        return Answer(cell=cell, seconds=seconds)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread of torch within the block.

    More would not help tensors of this size, which wait for their threads, and sums in another order round
    differently: with one thread the numbers are the same in every process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
