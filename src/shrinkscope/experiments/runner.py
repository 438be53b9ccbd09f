"""Running a study: what is done is skipped, the rest is carried out by worker processes, each cell kept at once."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from shrinkscope.experiments.config import Study
from shrinkscope.experiments.executor import Answer, Task
from shrinkscope.experiments.pool import Inline, Pool
from shrinkscope.experiments.provenance import new_run
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.study import Bench, dense_cells, pruned_cells

_DEFAULT_WORKERS = 2


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a study is.

    Attributes:
        done: Cells finished, those of earlier runs included.
        total: All cells.
        elapsed: Seconds since the start.
        remaining: Estimate of the seconds that are left; None before the first cell.
        cell: The cell that was finished last; None at the start.
    """

    done: int
    total: int
    elapsed: float
    remaining: float | None
    cell: Cell | None


OnProgress = Callable[[Progress], None]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A study that is complete.

    Attributes:
        store: The store of its records.
        run: Its key in the store.
        networks: Folder of its networks.
        cells: Number of cells.
        resumed: How many of them were finished before.
        seconds: Wall-clock time of this call.
    """

    store: Path
    run: str
    networks: Path
    cells: int
    resumed: int
    seconds: float


def run_study(
    study: Study,
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: OnProgress | None = None,
    fresh: bool = False,
) -> Outcome:
    """Carry out all cells of a study that are not in its folder yet, and keep each as soon as it is finished.

    Interrupted in any way, the same call goes on where it stopped and gives the same numbers.

    Args:
        study: The study.
        folder: Where the records (``records.sqlite``) and networks go.
        workers: Number of worker processes; 1 computes in this process. By default 2, or 1 on a single core. The
            numbers do not depend on it.
        progress: Called at the start and after each cell.
        fresh: Forget what this study has recorded in the folder before.

    Returns:
        Where everything is.

    Raises:
        StudyError: If a dense network misses the required accuracy, a mask was not kept, or a worker died.
        StoreError: If the store cannot be written.
        OutputError: If a network cannot be written.
    """
    started = time.perf_counter()
    run = new_run(study)
    place = Path(folder)
    store_path, networks = place / "records.sqlite", place / "networks" / run.run
    with Store(store_path) as store:
        if fresh:
            store.forget(run.run)
        store.begin(run)
        finished = store.finished(run.run)
    bench = Bench(study, networks)
    stages = [dense_cells(study), pruned_cells(study)]
    # A cell whose network was deleted is not finished, whatever the store says.
    todo = [[c for c in cells if c not in finished or not bench.network_path(c).is_file()] for cells in stages]
    total, left = sum(map(len, stages)), sum(map(len, todo))
    task = Task(study=study, run=run.run, store=str(store_path), networks=str(networks))
    count = _workers(workers, left)
    clock = _Clock(started, total, left, count, progress)
    if left:
        with Inline(task) if count == 1 else Pool(task, count) as crew:
            for cells in todo:
                crew.run(cells, clock)
    return Outcome(
        store=store_path,
        run=run.run,
        networks=networks,
        cells=total,
        resumed=total - left,
        seconds=time.perf_counter() - started,
    )


class _Clock:
    """Counts cells and estimates the time that is left."""

    def __init__(self, started: float, total: int, left: int, workers: int, progress: OnProgress | None) -> None:
        self._started = started
        self._total = total
        self._left = left
        self._workers = workers
        self._progress = progress
        self._seconds: list[float] = []
        self._tell(None, None)

    def __call__(self, answer: Answer) -> None:
        self._left -= 1
        self._seconds.append(answer.seconds)
        mean = sum(self._seconds) / len(self._seconds)
        self._tell(answer.cell, mean * self._left / self._workers)

    def _tell(self, cell: Cell | None, remaining: float | None) -> None:
        if self._progress is not None:
            elapsed = time.perf_counter() - self._started
            done = self._total - self._left
            self._progress(Progress(done=done, total=self._total, elapsed=elapsed, remaining=remaining, cell=cell))


def _workers(asked: int | None, cells: int) -> int:
    wanted = min(_DEFAULT_WORKERS, _cores()) if asked is None else asked
    return max(1, min(wanted, cells))


def _cores() -> int:
    # The cores that this process may use, which in a container or under taskset are fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
