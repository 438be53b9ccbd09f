"""Several studies in one go: cells as soon as what they need is there, failures collected, one estimate of the end."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from shrinkscope.experiments import distributed
from shrinkscope.experiments.aside import Aside
from shrinkscope.experiments.executor import Answer, Job
from shrinkscope.experiments.plan import Plan
from shrinkscope.experiments.pool import Crew, Inline, Pool
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.stage import CellStage, Stage


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a study, or several, are.

    Attributes:
        done: Cells finished, those of earlier runs included.
        total: All cells.
        elapsed: Seconds since the start.
        remaining: Estimate of the seconds that are left; None before the first cell.
        cell: The cell that was finished last; None at the start.
        study: Name of its study.
        failed: Cells that failed, or whose dense network did.
        stage: What goes on within the cell, or for many of them; None: a cell was finished.
    """

    done: int
    total: int
    elapsed: float
    remaining: float | None
    cell: Cell | None
    study: str = ""
    failed: int = 0
    stage: Stage | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A cell that could not be carried out.

    Attributes:
        study: Name of its study.
        run: Key of its run.
        cell: The cell.
        error: Why, one line.
    """

    study: str
    run: str
    cell: Cell
    error: str


OnProgress = Callable[[Progress], None]
CrewMaker = Callable[[int], AbstractContextManager[Crew]]


def carry_out(
    plans: Sequence[Plan],
    *,
    workers: int,
    progress: OnProgress | None = None,
    stop: bool = False,
    crew: CrewMaker | None = None,
) -> list[Failure]:
    """Carry out what is left of several studies, and keep each cell as soon as it is finished.

    Args:
        plans: The studies.
        workers: Number of worker processes; 1 computes in this process.
        progress: Called at the start, after each cell, and while features are computed and heads trained together.
        stop: Raise at the first failure instead of going on with the others.
        crew: Makes those that carry out the cells, given their number; by default processes of this machine.

    Returns:
        The failures.

    Raises:
        ShrinkscopeError: At the first failure, with ``stop``.
    """
    left = sum(len(plan.left) for plan in plans)
    count = max(1, min(workers, left))
    clock = _Clock(plans, count, progress)
    failures: list[Failure] = []

    def fail(plan: Plan, cell: Cell, why: str) -> None:
        if stop:
            raise StudyError(why)
        failures.append(Failure(study=plan.study.name, run=plan.run.run, cell=cell, error=why))
        clock.failed(plan, cell, 1)

    aside = Aside(plans, clock.finished, fail, clock.staged)
    others = aside.before()
    if any(plan.left for plan in others):
        failures += _by_crew(others, count, clock, stop=stop, crew=crew)
    aside.after()
    return failures


def _by_crew(
    plans: Sequence[Plan], count: int, clock: "_Clock", *, stop: bool, crew: CrewMaker | None
) -> list[Failure]:
    if distributed.size() > 1 or (count == 1 and crew is None):
        # A failure in one of the processes that train together leaves the others waiting for it: it ends all of them.
        collect = not stop and distributed.size() == 1
        made: AbstractContextManager[Crew] = Inline(collect=collect, on_stage=clock.told)
    else:
        made = crew(count) if crew else Pool(count, retries=0 if stop else 1, on_stage=clock.told)
    with made as hands:
        return _Schedule(plans, hands, clock, stop=stop).run()


class _Schedule:
    """Gives each cell to the crew when the dense network of its trial is there."""

    def __init__(self, plans: Sequence[Plan], crew: Crew, clock: "_Clock", *, stop: bool) -> None:
        self._plans = {plan.run.run: plan for plan in plans}
        self._crew = crew
        self._clock = clock
        self._stop = stop
        self._open = 0
        self._failures: list[Failure] = []

    def run(self) -> list[Failure]:
        """Carry out everything."""
        for plan in self._plans.values():
            missing = {cell.trial for cell in plan.left if cell.dense}
            for cell in plan.left:
                if cell.dense or cell.trial not in missing:
                    self._submit(plan, cell)
        while self._open:
            answer = self._crew.next()
            self._open -= 1
            self._take(self._plans[answer.run], answer)
        return self._failures

    def _submit(self, plan: Plan, cell: Cell) -> None:
        self._open += 1
        self._crew.submit(Job(task=plan.task, cell=cell))

    def _take(self, plan: Plan, answer: Answer) -> None:
        waiting = [cell for cell in plan.left if not cell.dense and cell.trial == answer.cell.trial]
        if answer.error is None:
            if answer.cell.dense:
                for cell in waiting:
                    self._submit(plan, cell)
            self._clock.finished(plan, answer)
            return
        if self._stop:
            raise StudyError(answer.error)
        lost = [answer.cell, *(waiting if answer.cell.dense else ())]
        for cell in lost:
            why = answer.error if cell == answer.cell else "its dense network failed"
            self._failures.append(Failure(study=plan.study.name, run=plan.run.run, cell=cell, error=why))
        self._clock.failed(plan, answer.cell, len(lost))


class _Clock:
    """Counts cells and estimates the time that is left, study by study."""

    def __init__(self, plans: Sequence[Plan], workers: int, progress: OnProgress | None) -> None:
        self._started = time.perf_counter()
        self._names = {plan.run.run: plan.study.name for plan in plans}
        self._total = sum(len(plan.cells) for plan in plans)
        self._left = Counter({plan.run.run: len(plan.left) for plan in plans})
        self._workers = workers
        self._progress = progress
        self._seconds: dict[str, list[float]] = {}
        self._failed = 0
        self._tell("", None)

    def finished(self, plan: Plan, answer: Answer) -> None:
        """Count a finished cell."""
        self._left[plan.run.run] -= 1
        self._seconds.setdefault(plan.run.run, []).append(answer.seconds)
        self._tell(plan.study.name, answer.cell)

    def failed(self, plan: Plan, cell: Cell, count: int) -> None:
        """Count cells that will not be finished."""
        self._left[plan.run.run] -= count
        self._failed += count
        self._tell(plan.study.name, cell)

    def staged(self, plan: Plan, stage: Stage) -> None:
        """Tell how far something is that is no cell by itself."""
        self._tell(plan.study.name, None, stage)

    def told(self, of: CellStage) -> None:
        """Tell how far a cell is that goes on."""
        self._tell(self._names[of.run], of.cell, of.stage)

    def _remaining(self) -> float | None:
        everything = [seconds for found in self._seconds.values() for seconds in found]
        if not everything:
            return None
        # A study of which no cell is finished yet is taken for an average one.
        means = {run: sum(found) / len(found) for run, found in self._seconds.items()}
        usual = sum(everything) / len(everything)
        return sum(left * means.get(run, usual) for run, left in self._left.items()) / self._workers

    def _tell(self, study: str, cell: Cell | None, stage: Stage | None = None) -> None:
        if self._progress is None:
            return
        self._progress(
            Progress(
                done=self._total - sum(self._left.values()) - self._failed,
                total=self._total,
                elapsed=time.perf_counter() - self._started,
                remaining=self._remaining(),
                cell=cell,
                study=study,
                failed=self._failed,
                stage=stage,
            )
        )
