"""The order of cells over several studies, and what becomes of failures, with hands that only keep books."""

from collections import deque

import msgspec
import pytest

from shrinkscope.experiments.executor import Answer, Job
from shrinkscope.experiments.grid import cell_name
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import ConfigError, StudyError
from shrinkscope.experiments.sweep import Progress, carry_out


class Books:
    """Answers in the order of submission; dense networks of one run fail."""

    def __init__(self, broken: str = "") -> None:
        self.seen: list[tuple[str, Cell]] = []
        self.broken = broken
        self._jobs: deque[Job] = deque()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, job: Job) -> None:
        self.seen.append((job.task.run, job.cell))
        self._jobs.append(job)

    def next(self) -> Answer:
        job = self._jobs.popleft()
        error = "no luck" if job.task.run == self.broken and job.cell.dense else None
        return Answer(cell=job.cell, run=job.task.run, seconds=3.0, error=error)


def test_pruned_cells_come_after_their_dense_network_and_failures_stop_nothing_else(tiny, tmp_path):
    studies = [msgspec.structs.replace(tiny, name=name, trials=2) for name in ("good", "bad")]
    plans = [plan_study(study, tmp_path) for study in studies]
    books, told = Books(broken=plans[1].run.run), []
    failures = carry_out(plans, workers=4, progress=told.append, crew=lambda count: books)
    good = [cell for run, cell in books.seen if run == plans[0].run.run]
    assert sorted(map(cell_name, good)) == sorted(map(cell_name, plans[0].cells))
    for cell in good:
        assert cell.dense or good.index(Cell(trial=cell.trial)) < good.index(cell)
    assert [cell for run, cell in books.seen if run == plans[1].run.run] == [Cell(trial=1), Cell(trial=2)]
    assert {failure.cell for failure in failures} == set(plans[1].cells)
    assert {failure.error for failure in failures} == {"no luck", "its dense network failed"}
    assert {failure.study for failure in failures} == {"bad"}
    last: Progress = told[-1]
    assert (last.done, last.total, last.failed, last.remaining) == (18, 36, 18, 0)
    # Three seconds a cell, four at a time.
    assert told[1].remaining == pytest.approx(3.0 * 35 / 4)


def test_the_first_failure_stops_a_study_that_runs_alone(tiny, tmp_path):
    plan = plan_study(tiny, tmp_path)
    with pytest.raises(StudyError, match="^no luck$"):
        carry_out([plan], workers=2, stop=True, crew=lambda count: Books(broken=plan.run.run))


def test_a_pattern_chooses_cells_and_the_dense_networks_they_need(tiny, tmp_path):
    study = msgspec.structs.replace(tiny, trials=2)
    plan = plan_study(study, tmp_path, only="trial-2/last-*-0.8", dry=True)
    assert list(map(cell_name, plan.cells)) == ["trial-2/dense", "trial-2/last-lowest-0.8", "trial-2/last-random-0.8"]
    assert plan.left == plan.cells
    assert list(tmp_path.iterdir()) == []  # a dry plan writes nothing
    with pytest.raises(
        ConfigError, match=r"no cell of tiny is called last; names are such as trial-1/dense and trial-1"
    ):
        plan_study(study, tmp_path, only="last", dry=True)
