"""Cells on a local Ray cluster: the numbers of one process, also when a worker is killed on the way."""

import os
import signal
from unittest.mock import Mock

import msgspec
import pandas as pd
import pytest

from ray_workers import descendants, kill_a_worker
from shrinkscope.errors import ClusterError
from shrinkscope.experiments.executor import Job
from shrinkscope.experiments.on_ray import _Tasks, ray_crew
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.records import DENSE
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import Progress, carry_out


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_worker_that_is_killed_is_replaced_and_the_numbers_are_those_of_one_process(tiny, tmp_path):
    # Cells of the whole network: those of the last layer are carried out together, in this process.
    study = msgspec.structs.replace(tiny, levels=(0.3,), methods=("lowest",), scopes=("all",))
    alone = plan_study(study, tmp_path / "alone")
    assert carry_out([alone], workers=1) == []
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.cell is not None and progress.cell.method == DENSE:
            killed.append(kill_a_worker("_carry_out", signal.SIGKILL))

    together = plan_study(study, tmp_path / "ray")
    before = descendants(os.getpid())
    assert carry_out([together], workers=2, progress=kill, crew=ray_crew("local")) == []
    assert len(killed) == 1
    assert descendants(os.getpid()) <= before
    tables = []
    for plan in (alone, together):
        with Store(plan.store, create=False) as store:
            tables.append(store.records(plan.run.run))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize(("slots", "cores"), [(True, 1), (False, 3)])
def test_a_job_never_asks_a_cluster_of_this_machine_for_more_cores_than_it_has(tiny, tmp_path, slots, cores):
    plan = plan_study(tiny, tmp_path, threads=3)
    ray = Mock()
    _Tasks(ray, slots=slots).submit(Job(task=plan.task, cell=plan.cells[0]))
    # A task that asks for more would wait for ever.
    ray.remote.return_value.return_value.options.assert_called_once_with(num_cpus=cores)


def test_a_cluster_that_is_not_there_is_one_line(tiny, tmp_path):
    plan = plan_study(tiny, tmp_path)
    with pytest.raises(ClusterError, match=r"cannot join the Ray cluster 127\.0\.0\.1:1: .*refused"):
        carry_out([plan], workers=2, crew=ray_crew("127.0.0.1:1"))
