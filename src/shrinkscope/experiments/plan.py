"""What is left to do of a study: its run, its cells, and those that its folder holds already."""

import fnmatch
from pathlib import Path

import msgspec

from shrinkscope.experiments.config import Images, Study
from shrinkscope.experiments.data import open_images
from shrinkscope.experiments.executor import Task
from shrinkscope.experiments.grid import cell_name, dense_cells, pruned_cells
from shrinkscope.experiments.pretrained import weights_digest
from shrinkscope.experiments.provenance import new_run
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import USUAL, ConfigError, Extraction
from shrinkscope.experiments.store import Run, Store
from shrinkscope.experiments.study import Bench


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A study in a folder.

    Attributes:
        study: The study.
        run: Its run.
        task: What its cells share.
        cells: All cells that are asked for.
        left: Those that are not done, dense networks first.
    """

    study: Study
    run: Run
    task: Task
    cells: tuple[Cell, ...]
    left: tuple[Cell, ...]

    @property
    def store(self) -> Path:
        """The store of the records."""
        return Path(self.task.store)

    @property
    def networks(self) -> Path:
        """The folder of the networks."""
        return Path(self.task.networks)


def ingredients(study: Study) -> dict[str, str]:
    """What the numbers of a study depend on beside its settings: digests of its images and of its first weights.

    Args:
        study: The study.

    Raises:
        DataError: If the images are not there, or in another layout.
        WeightsError: If the weights cannot be read.
    """
    found = {}
    if isinstance(study.data, Images):
        found["data"] = open_images(study.data).digest
    if study.weights is not None:
        found["weights"] = weights_digest(study.weights)
    return found


def plan_study(
    study: Study,
    folder: Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    patience: float | None = None,
    only: str | None = None,
    fresh: bool = False,
    dry: bool = False,
    extraction: Extraction = USUAL,
) -> Plan:
    """Begin a study's run in a folder, or find it there, and see what is left.

    Args:
        study: The study.
        folder: Where ``records.sqlite`` and ``networks`` are.
        device: ``cpu`` or ``cuda``.
        threads: Threads of torch in each process.
        patience: Seconds between two checkpoints of a cell; None is the usual.
        only: Pattern of the names of cells; the dense networks that they need are done with them.
        fresh: Forget what the folder holds of this run.
        dry: Write nothing.
        extraction: How features are computed, where they are.

    Returns:
        The plan.

    Raises:
        ConfigError: If no cell matches the pattern.
        DataError: If the data are not there, or in another layout.
        StoreError: If the store cannot be written.
        WeightsError: If the weights to start from cannot be read.
    """
    run = new_run(study, ingredients(study), device)
    task = Task(
        study=study,
        run=run.run,
        store=str(folder / "records.sqlite"),
        networks=str(folder / "networks" / run.run),
        device=device,
        threads=threads,
        extraction=extraction,
        **({} if patience is None else {"patience": patience}),
    )
    cells = _chosen(study, only)
    finished = _finished(Path(task.store), run, fresh=fresh, dry=dry)
    bench = Bench(study, Path(task.networks))
    # A cell whose network was deleted is not finished, whatever the store says.
    left = tuple(cell for cell in cells if cell not in finished or not bench.network_path(cell).is_file())
    return Plan(study=study, run=run, task=task, cells=cells, left=left)


def _chosen(study: Study, only: str | None) -> tuple[Cell, ...]:
    pruned = [cell for cell in pruned_cells(study) if only is None or fnmatch.fnmatch(cell_name(cell), only)]
    needed = {cell.trial for cell in pruned}
    dense = [
        cell
        for cell in dense_cells(study)
        if only is None or cell.trial in needed or fnmatch.fnmatch(cell_name(cell), only)
    ]
    if not dense:
        names = cell_name(dense_cells(study)[0]), cell_name(pruned_cells(study)[0])
        raise ConfigError(f"no cell of {study.name} is called {only}; names are such as {names[0]} and {names[1]}")
    return (*dense, *pruned)


def _finished(path: Path, run: Run, *, fresh: bool, dry: bool) -> set[Cell]:
    if dry and not path.is_file():
        return set()
    with Store(path, create=not dry) as store:
        if fresh and not dry:
            store.forget(run.run)
        if not dry:
            store.begin(run)
        return store.finished(run.run)
