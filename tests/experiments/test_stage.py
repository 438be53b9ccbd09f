"""How far a long piece of work is: told after epochs, with an estimate, from this process and from workers."""

import msgspec
import pytest

from shrinkscope.experiments.config import Training
from shrinkscope.experiments.executor import Job
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.pool import Inline, Pool
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.stage import CellStage, Stage, StageClock, telling
from shrinkscope.experiments.sweep import Progress, carry_out


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [100.0]
    monkeypatch.setattr("shrinkscope.experiments.stage.time.perf_counter", lambda: now[0])
    return now


def test_what_is_left_is_estimated_from_what_this_run_did(clock):
    told: list[Stage] = []
    stage = StageClock("features", 40, 100, told.append)  # an earlier run did 40
    clock[0] += 10
    stage.tell(60)
    assert told == [Stage(what="features", done=60, total=100, elapsed=10.0, remaining=20.0)]
    clock[0] += 20
    stage.tell(100)
    assert (told[-1].elapsed, told[-1].remaining) == (30.0, 0.0)
    StageClock("features", 0, 1, None).tell(1)  # nobody listens


def test_epochs_are_told_after_their_work_from_the_second_of_this_run(clock):
    told: list[Stage] = []
    done: list[int] = []

    def work(epoch: int) -> None:
        done.append(epoch)
        clock[0] += 3.0

    after_epoch = telling(work, 10, told.append)
    for epoch in (5, 6, 7):  # resumed after four
        after_epoch(epoch)
    assert done == [5, 6, 7]
    assert [(stage.done, stage.total, stage.remaining) for stage in told] == [(6, 10, 12.0), (7, 10, 9.0)]
    telling(None, 10, None)(1)


def test_the_epochs_of_a_cell_are_told_in_this_process(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("shrinkscope.experiments.executor._SILENCE", 0.0)
    study = msgspec.structs.replace(tiny, training=Training(epochs=4))
    plan, told = plan_study(study, tmp_path), []
    with Inline(collect=False, on_stage=told.append) as hands:
        hands.submit(Job(task=plan.task, cell=Cell(trial=1)))
        hands.next()
    assert [(of.run, of.cell, of.stage.done, of.stage.total) for of in told] == [
        (plan.run.run, Cell(trial=1), epoch, 4) for epoch in (2, 3, 4)
    ]


def test_workers_tell_once_a_second_and_answer_as_ever(tiny, tmp_path):
    # Some 50 ms an epoch: several seconds.
    study = msgspec.structs.replace(tiny, training=Training(epochs=120))
    plan = plan_study(study, tmp_path)
    told: list[CellStage] = []
    with Pool(1, on_stage=told.append) as pool:
        pool.submit(Job(task=plan.task, cell=Cell(trial=1)))
        answer = pool.next()
    assert (answer.cell, answer.error) == (Cell(trial=1), None)
    assert told
    assert {(of.run, of.cell, of.stage.total) for of in told} == {(plan.run.run, Cell(trial=1), 120)}
    done = [of.stage.done for of in told]
    assert done == sorted(set(done))
    assert len(told) <= answer.seconds


def test_a_sweep_passes_them_on(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("shrinkscope.experiments.executor._SILENCE", 0.0)
    told: list[Progress] = []
    plan = plan_study(msgspec.structs.replace(tiny, iterations=False), tmp_path, only="trial-1/last-lowest-0.3")
    assert carry_out([plan], workers=1, progress=told.append) == []
    stages = [(p.study, p.cell, p.stage.what, p.stage.done, p.done) for p in told if p.stage is not None]
    assert stages == [("tiny", plan.cells[0], "epochs", 2, 0), ("tiny", plan.cells[1], "epochs", 2, 1)]
