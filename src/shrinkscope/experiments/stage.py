"""How far a long piece of work is that is no cell by itself, and how long it will take."""

import time
from collections.abc import Callable

import msgspec

from shrinkscope.experiments.records import Cell


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """How far the features of some images are, or the epochs of heads that are trained together.

    Attributes:
        what: What is counted, such as ``features of images``.
        done: How many are done, those of earlier runs included.
        total: How many there are.
        elapsed: Seconds since this run began with them.
        remaining: Estimate of the seconds that are left for them.
    """

    what: str
    done: int
    total: int
    elapsed: float
    remaining: float


class CellStage(msgspec.Struct, frozen=True, kw_only=True):
    """How far a cell is that a worker carries out.

    Attributes:
        run: Key of its run.
        cell: The cell.
        stage: Its epochs.
    """

    run: str
    cell: Cell
    stage: Stage


OnStage = Callable[[Stage], None]
OnCellStage = Callable[[CellStage], None]


class StageClock:
    """Tells of a stage from time to time, and estimates what is left from what this run did.

    Args:
        what: What is counted.
        done: What earlier runs did.
        total: How many there are.
        tell: Called with the stage; None: nobody listens.
    """

    def __init__(self, what: str, done: int, total: int, tell: OnStage | None) -> None:
        self._what, self._before, self._total, self._tell = what, done, total, tell
        self._started = time.perf_counter()

    def tell(self, done: int) -> None:
        """Say how many are done.

        Args:
            done: More than at the start.
        """
        if self._tell is None or done == self._before:
            return
        elapsed = time.perf_counter() - self._started
        remaining = elapsed / (done - self._before) * (self._total - done)
        self._tell(Stage(what=self._what, done=done, total=self._total, elapsed=elapsed, remaining=remaining))


def telling(work: Callable[[int], object] | None, epochs: int, tell: OnStage | None) -> Callable[[int], None]:
    """What to do after each epoch: some work, and telling how far the epochs are.

    Args:
        work: Called with the number of the epoch; None: nothing.
        epochs: How many there are.
        tell: Called with the stage; None: nobody listens.
    """
    clock: StageClock | None = None

    def after_epoch(epoch: int) -> None:
        nonlocal clock
        if work is not None:
            work(epoch)
        # The first of this run, which may be one in the middle, begins the clock.
        clock = clock or StageClock("epochs", epoch, epochs, tell)
        clock.tell(epoch)

    return after_epoch
