"""The cells of a study: dense networks, and the prunings of each."""

import itertools

from shrinkscope.experiments.config import Study
from shrinkscope.experiments.records import Cell


def dense_cells(study: Study) -> list[Cell]:
    """The cells that train the dense networks, one a trial; the others build on them.

    Args:
        study: The study.

    Returns:
        One cell for each trial.
    """
    return [Cell(trial=trial) for trial in range(1, study.trials + 1)]


def pruned_cells(study: Study) -> list[Cell]:
    """The cells that prune and fine-tune: trials × scopes × methods × levels.

    Args:
        study: The study.

    Returns:
        The cells; those that prune everything first, for they take longest and should not come last to a worker.
    """
    scopes = sorted(study.scopes, key=("all", "last").index)
    grid = itertools.product(scopes, range(1, study.trials + 1), study.methods, study.levels)
    return [Cell(trial=trial, scope=scope, method=method, level=level) for scope, trial, method, level in grid]


def cell_name(cell: Cell) -> str:
    """The name of a cell as patterns see it, such as ``trial-1/last-lowest-0.3`` or ``trial-1/dense``.

    Args:
        cell: The cell.
    """
    return f"trial-{cell.trial}/" + ("dense" if cell.dense else f"{cell.scope}-{cell.method}-{cell.level:g}")
