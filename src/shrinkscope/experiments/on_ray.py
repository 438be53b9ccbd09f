"""Carrying out cells on a Ray cluster: each cell is a task, which Ray gives to another worker when its own dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shrinkscope.cluster import LOCAL, RETRIES, imported, joined, said
from shrinkscope.experiments.executor import Answer, Executors, Job
from shrinkscope.experiments.pool import Crew
from shrinkscope.experiments.sweep import CrewMaker


def ray_crew(address: str) -> CrewMaker:
    """Hands on a Ray cluster; store and networks must lie where all its machines reach them.

    Each worker writes its cells to the store itself, and SQLite's write-ahead log needs one machine: a cluster of
    several machines needs a store a machine, that is, a command on each with another ``--only``.

    Args:
        address: Of the cluster, such as ``ray://HOST:10001`` or ``auto``; ``local`` starts one on this machine.

    Returns:
        What ``carry_out`` takes as its crew.

    Raises:
        ClusterError: If ray is not installed.
    """
    imported()

    @contextmanager
    def crew(workers: int) -> Iterator[Crew]:
        with joined(address, workers) as ray:
            yield _Tasks(ray, slots=address == LOCAL)

    return crew


class _Tasks:
    """Jobs as tasks of Ray.

    Args:
        ray: The module, part of a cluster.
        slots: Whether each job takes one of the cluster's cores whatever its threads: a cluster that was started here
            has one a worker, and would wait for ever for a job of more.
    """

    def __init__(self, ray: Any, *, slots: bool) -> None:
        self._ray, self._slots = ray, slots
        # A task whose worker is killed runs again; an error of ours is part of its answer.
        self._remote = ray.remote(max_retries=RETRIES)(_carry_out)
        self._open: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """Take on a job.

        Args:
            job: The job.
        """
        settings: dict[str, Any] = {"num_cpus": 1 if self._slots else job.task.threads}
        if job.task.device == "cuda":
            settings["num_gpus"] = 1
        self._open[self._remote.options(**settings).remote(job)] = job

    def next(self) -> Answer:
        """Wait for the next task that ends; one that was killed too often is answered with an error."""
        ready, _ = self._ray.wait(list(self._open), num_returns=1)
        job = self._open.pop(ready[0])
        try:
            return self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            why = f"a worker of Ray died {1 + RETRIES} times: {said(error)}"
            return Answer(cell=job.cell, run=job.task.run, error=why)


_here: Executors | None = None


def _carry_out(job: Job) -> Answer:
    """What a worker of Ray does; it keeps its data and dense networks for the next task."""
    global _here  # a worker process is Ray's, and has no place of ours to keep things
    _here = _here or Executors()
    return _here.answer(job)
