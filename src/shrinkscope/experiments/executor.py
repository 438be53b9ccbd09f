"""Carrying out cells in one process: the numbers go to the store, the networks to their folder."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import torch

from shrinkscope.errors import ShrinkscopeError
from shrinkscope.experiments import distributed
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.ledger import PATIENCE, Ledger
from shrinkscope.experiments.provenance import hardware
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.settings import USUAL, Extraction, StudyError
from shrinkscope.experiments.stage import CellStage, OnCellStage, OnStage, Stage
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.study import Bench

_SILENCE = 1.0  # seconds between two words about the epochs of a cell, at least
_NO_MEMORY = "can't allocate memory"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What all cells of one run share.

    Attributes:
        study: The study.
        run: Key of its run in the store.
        store: Path of the store.
        networks: Folder of the networks.
        device: ``cpu`` or ``cuda``.
        threads: Threads of torch; more than one only for data sets of images, whose sums then round as they do.
        patience: Seconds between two checkpoints of a cell at least.
        extraction: How features are computed, where they are.
    """

    study: Study
    run: str
    store: str
    networks: str
    device: str = "cpu"
    threads: int = 1
    patience: float = PATIENCE
    extraction: Extraction = USUAL


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of one run.

    Attributes:
        task: What the cells of its run share.
        cell: The cell.
    """

    task: Task
    cell: Cell


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a cell.

    Attributes:
        cell: The cell.
        seconds: Wall-clock time that it took; 0 when it failed.
        error: One line when it failed, otherwise None.
        run: Key of its run.
    """

    cell: Cell
    seconds: float = 0.0
    error: str | None = None
    run: str = ""


class Executor:
    """Carries out cells and writes each when it is finished.

    Args:
        task: What the cells share; the run has begun.

    Raises:
        StoreError: If the store cannot be opened.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._bench = Bench(task.study, Path(task.networks), task.device, task.extraction)
        self._store = Store(task.store, create=False)
        self._hardware = hardware(task.device)

    def carry_out(self, cell: Cell, on_stage: OnCellStage | None = None) -> Answer:
        """Carry out one cell, and write its network and then its records.

        Args:
            cell: The cell.
            on_stage: Called after its epochs, once in a while.

        Returns:
            The time that it took, in this process: what an interrupted one did before is not in it.

        Raises:
            ShrinkscopeError: If it fails for a reason that is known.
        """
        started = time.perf_counter()
        ledger = Ledger(self._store, self._task.run, cell, every=self._task.patience)
        with threads(self._task.threads), memory_errors(cell), distributed.processes(self._task.device):
            records = self._bench.carry_out(cell, ledger, self._teller(cell, on_stage))
            return self._write(cell, records, time.perf_counter() - started)

    def _teller(self, cell: Cell, on_stage: OnCellStage | None) -> OnStage | None:
        if on_stage is None:
            return None
        last = time.monotonic()

        def tell(stage: Stage) -> None:
            nonlocal last
            if time.monotonic() - last >= _SILENCE:
                last = time.monotonic()
                on_stage(CellStage(run=self._task.run, cell=cell, stage=stage))

        return tell

    def together(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those of some cells that are carried out together, on features that are computed once.

        Args:
            cells: Cells of the study.

        Raises:
            ShrinkscopeError: If the study demands it and its network does not allow it.
        """
        from shrinkscope.experiments.heads import goes_together

        return [cell for cell in cells if goes_together(self._bench, cell)]

    def carry_out_together(
        self, cells: Sequence[Cell], on_answer: Callable[[Answer], None], progress: OnStage | None = None
    ) -> None:
        """Carry out cells that go together, and write the network and the records of each.

        Args:
            cells: Cells that ``together`` gave, all dense or all pruned.
            on_answer: Called after each; the time of all of them is told with the first.
            progress: Called while features are computed and after each epoch.

        Raises:
            ShrinkscopeError: If they fail for a reason that is known.
        """
        from shrinkscope.experiments.heads import carry_out_together

        started = time.perf_counter()

        def write(cell: Cell, records: list[Record]) -> None:
            nonlocal started
            answer = self._write(cell, records, time.perf_counter() - started)
            started = time.perf_counter()
            on_answer(answer)

        with threads(self._task.threads), memory_errors(cells[0]):
            carry_out_together(self._bench, cells, write, progress=progress)

    def _write(self, cell: Cell, records: list[Record], seconds: float) -> Answer:
        if distributed.rank() == 0:
            self._store.write_cell(self._task.run, cell, records, seconds, self._hardware)
        return Answer(cell=cell, seconds=seconds, run=self._task.run)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


class Executors:
    """Carries out cells of several runs in one process; what cells share is kept for the last run alone.

    Args:
        on_stage: Called after epochs of a cell, once in a while.
    """

    def __init__(self, on_stage: OnCellStage | None = None) -> None:
        self._on_stage = on_stage
        self._task: Task | None = None
        self._executor: Executor | None = None

    def carry_out(self, job: Job) -> Answer:
        """Carry out one cell.

        Args:
            job: The cell and its run.

        Returns:
            The time that it took.

        Raises:
            ShrinkscopeError: If it fails for a reason that is known.
        """
        return self.of(job.task).carry_out(job.cell, self._on_stage)

    def answer(self, job: Job) -> Answer:
        """Carry out one cell; an error becomes part of the answer.

        Args:
            job: The cell and its run.

        Returns:
            The time that it took, or why it failed.
        """
        try:
            return self.carry_out(job)
        except ShrinkscopeError as error:
            return Answer(cell=job.cell, run=job.task.run, error=str(error))

    def of(self, task: Task) -> Executor:
        """The executor of a run.

        Args:
            task: What the cells of the run share.

        Raises:
            StoreError: If the store cannot be opened.
        """
        if self._executor is None or self._task != task:
            self.close()
            self._executor, self._task = Executor(task), task
        return self._executor

    def close(self) -> None:
        """Close the store."""
        if self._executor is not None:
            self._executor.close()
            self._executor = None


@contextmanager
def memory_errors(cell: Cell) -> Iterator[None]:
    """Turn a device, or a machine, that is out of memory into one line.

    Args:
        cell: What was being carried out.

    Raises:
        StudyError: If it is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a type for a GPU without memory, and for the processor's only words.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and _NO_MEMORY not in str(error):
            raise
        said = (str(error).splitlines() or ["out of memory"])[0]
        raise StudyError(f"{cell}: {said}; give a smaller batch_size, fewer workers, or another --device") from error


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads of torch within the block.

    Args:
        count: How many. More than one do not help tensors as small as the digits, which wait for their threads; and
            sums in another order round differently.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Compute with one thread within a block: the numbers are the same in every process."""
    return threads(1)
