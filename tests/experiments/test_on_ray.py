"""Cells on a local Ray cluster: the numbers of one process, also when a worker is killed on the way."""

import os
import signal
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from shrinkscope.experiments.on_ray import ray_crew
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.records import DENSE
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import Progress, carry_out


def workers_of_ray() -> list[int]:
    """Processes of Ray that are carrying out one of our tasks, found by the name that Ray gives them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().startswith(b"ray::_carry_out"):
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_worker_that_is_killed_is_replaced_and_the_numbers_are_those_of_one_process(tiny, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    study = msgspec.structs.replace(tiny, levels=(0.3,))
    alone = plan_study(study, tmp_path / "alone")
    assert carry_out([alone], workers=1) == []
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.cell is not None and progress.cell.method == DENSE:
            for _ in range(200):
                running = workers_of_ray()
                if running:
                    os.kill(running[0], signal.SIGKILL)
                    killed.append(running[0])
                    return
                __import__("time").sleep(0.05)

    together = plan_study(study, tmp_path / "ray")
    assert carry_out([together], workers=2, progress=kill, crew=ray_crew("local")) == []
    assert len(killed) == 1
    tables = []
    for plan in (alone, together):
        with Store(plan.store, create=False) as store:
            tables.append(store.records(plan.run.run))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_without_ray_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"ray cannot be imported .*; install shrinkscope\[ray\]"):
        ray_crew("local")


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_one_line(tiny, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    plan = plan_study(tiny, tmp_path)
    with pytest.raises(StudyError, match="cannot join the Ray cluster auto: "):
        carry_out([plan], workers=2, crew=ray_crew("auto"))
