"""Carrying out cells on a Ray cluster: each cell is a task, which Ray gives to another worker when its own dies."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shrinkscope.experiments.executor import Answer, Executors, Job
from shrinkscope.experiments.pool import Crew
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.sweep import CrewMaker

LOCAL = "local"
_RETRIES = 2


def ray_crew(address: str) -> CrewMaker:
    """Hands on a Ray cluster; store and networks must lie where all its machines reach them.

    Each worker writes its cells to the store itself, and SQLite's write-ahead log needs one machine: a cluster of
    several machines needs a store a machine, that is, a command on each with another ``--only``.

    Args:
        address: Of the cluster, such as ``ray://HOST:10001`` or ``auto``; ``local`` starts one on this machine.

    Returns:
        What ``carry_out`` takes as its crew.

    Raises:
        StudyError: If ray is not installed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise StudyError(f"ray cannot be imported ({error}); install shrinkscope[ray]") from error

    @contextmanager
    def crew(workers: int) -> Iterator[Crew]:
        try:
            if address == LOCAL:
                ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env=_environment())
            else:
                ray.init(address=address, log_to_driver=False, runtime_env=_environment())
        except (OSError, RuntimeError, ValueError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(f"cannot join the Ray cluster {address}: {said}") from error
        try:
            yield _Tasks(ray)
        finally:
            ray.shutdown()

    return crew


class _Tasks:
    """Jobs as tasks of Ray."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # A task whose worker is killed runs again; an error of ours is part of its answer.
        self._remote = ray.remote(max_retries=_RETRIES)(_carry_out)
        self._open: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """Take on a job.

        Args:
            job: The job.
        """
        settings: dict[str, Any] = {"num_cpus": job.task.threads}
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
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            return Answer(cell=job.cell, run=job.task.run, error=f"a worker of Ray died {1 + _RETRIES} times: {said}")


_here: Executors | None = None


def _carry_out(job: Job) -> Answer:
    """What a worker of Ray does; it keeps its data and dense networks for the next task."""
    global _here  # a worker process is Ray's, and has no place of ours to keep things
    _here = _here or Executors()
    return _here.answer(job)


def _environment() -> dict[str, Any]:
    """What this process would import, the workers import."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  # "" is the working directory
    return {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}}
