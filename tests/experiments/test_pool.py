"""Worker processes that die: replaced once a job where that was asked for, named where it was not."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from shrinkscope.experiments.executor import Job
from shrinkscope.experiments.plan import Plan, plan_study
from shrinkscope.experiments.pool import Pool
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import carry_out

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def workers() -> list[int]:
    """Worker processes of this process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and b"shrinkscope.experiments.worker" in command:
            found.append(int(entry.name))
    return found


@contextmanager
def killing(times: int) -> Iterator[list[int]]:
    """Kill so many worker processes, one after the other as they appear."""
    killed: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while len(killed) < times and not over.is_set():
            for process in [p for p in workers() if p not in killed][: times - len(killed)]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)
            time.sleep(0.01)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        yield killed
    finally:
        over.set()
        hunter.join()


@pytest.fixture
def plan(tiny, tmp_path) -> Plan:
    return plan_study(msgspec.structs.replace(tiny, iterations=False), tmp_path)


def test_a_job_whose_process_died_is_given_to_another(plan):
    with killing(1) as killed, Pool(1, retries=1) as pool:
        pool.submit(Job(task=plan.task, cell=Cell(trial=1)))
        answer = pool.next()
    assert len(killed) == 1
    assert (answer.error, answer.cell, answer.run) == (None, Cell(trial=1), plan.run.run)
    with Store(plan.store, create=False) as store:
        assert store.finished(plan.run.run) == {Cell(trial=1)}
    assert workers() == []


@pytest.mark.parametrize("retries", [0, 1])
def test_a_job_whose_processes_all_died_says_so_and_the_next_one_is_carried_out(plan, retries):
    with Pool(1, retries=retries) as pool:
        with killing(1 + retries):
            pool.submit(Job(task=plan.task, cell=Cell(trial=1)))
            answer = pool.next()
        assert answer.error == (
            "a worker process was killed by signal 9 in trial 1, dense; finished cells are kept, run the same command "
            "again"
        )
        if retries == 0:
            pool.submit(Job(task=plan.task, cell=Cell(trial=1)))
            assert pool.next().error is None


def test_a_worker_that_dies_in_a_sweep_costs_nothing_but_time(plan):
    with killing(1) as killed:
        failures = carry_out([plan], workers=2)
    assert len(killed) == 1
    assert failures == []
    with Store(plan.store, create=False) as store:
        assert store.finished(plan.run.run) == set(plan.cells)
