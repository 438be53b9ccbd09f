"""What a cell has recorded so far, while it is being carried out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from shrinkscope.experiments.checkpoint import Checkpoint, Companion
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.store import Store

PATIENCE = 1.0
"""Seconds between two checkpoints of a cell at least: shorter epochs are not worth a write each."""


class Ledger:
    """Writes the epochs of one cell to the store together with its checkpoints, and reads them when it goes on.

    Args:
        store: The store.
        run: Key of the run.
        cell: The cell.
        every: Seconds between two checkpoints at least.
    """

    def __init__(self, store: Store, run: str, cell: Cell, *, every: float = PATIENCE) -> None:
        self._store = store
        self._run = run
        self._cell = cell
        self._every = every
        self._written = 0

    def checkpoint(self, path: Path, records: list[Record], companions: dict[str, Companion]) -> Checkpoint:
        """The checkpoint of the cell; what it recorded up to there is put into ``records``.

        Args:
            path: Its file; one that does not fit the store is deleted, and the cell begins anew.
            records: Empty; its owner appends the records of each epoch.
            companions: What else is carried along.

        Returns:
            The checkpoint, which writes the new records before itself.
        """
        made = Checkpoint(
            path, f"{self._run} {self._cell}", every=self._every, companions=companions, before=self._writer(records)
        )
        done = made.epoch()
        kept = self._store.epochs(self._run, self._cell, done) if done else []
        if not self._cell.dense and {record.epoch for record in kept} != set(range(done + 1)):
            made.remove()
            kept = []
        records += kept
        self._written = len(kept)
        return made

    def _writer(self, records: Sequence[Record]) -> Callable[[], None]:
        def write() -> None:
            self._store.write_epochs(self._run, self._cell, records[self._written :])
            self._written = len(records)

        return write
