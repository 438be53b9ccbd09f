"""Running a study: what is done is skipped, the rest is carried out by worker processes, each cell kept at once."""

import os
import time
from pathlib import Path

import msgspec

from shrinkscope.experiments.config import Study
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.sweep import OnProgress, Progress, carry_out

__all__ = ["OnProgress", "Outcome", "Progress", "cores", "default_workers", "run_study", "threads_of_each"]

_DEFAULT_WORKERS = 2


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
    plan = plan_study(study, Path(folder), fresh=fresh)
    carry_out([plan], workers=default_workers() if workers is None else workers, progress=progress, stop=True)
    return Outcome(
        store=plan.store,
        run=plan.run.run,
        networks=plan.networks,
        cells=len(plan.cells),
        resumed=len(plan.cells) - len(plan.left),
        seconds=time.perf_counter() - started,
    )


def default_workers() -> int:
    """Worker processes unless told otherwise: 2, or 1 on a single core."""
    return min(_DEFAULT_WORKERS, cores())


def cores() -> int:
    """The cores that this process may use, which in a container or under taskset are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of_each(workers: int) -> int:
    """Threads of each worker: its share of the cores, or what OMP_NUM_THREADS says if that is fewer.

    Args:
        workers: Number of worker processes.
    """
    share = max(1, cores() // workers)
    said = os.environ.get("OMP_NUM_THREADS", "")
    # A list gives the numbers of nested levels, of which torch has the first.
    first = said.partition(",")[0].strip()
    return min(share, int(first)) if first.isdecimal() and int(first) else share
