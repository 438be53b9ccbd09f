"""Carrying out jobs: in this process, or in worker processes side by side."""

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from types import TracebackType
from typing import IO, Protocol, Self

import msgspec

from shrinkscope.experiments.executor import Answer, Executors, Job
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.stage import CellStage, OnCellStage

_STAGE = b"stage "  # begins the lines that are no answers
_COMMAND = "shrinkscope.experiments.worker"
# One thread a worker: two workers on two cores would only wait for each other's threads.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


Said = queue.SimpleQueue[Answer | CellStage]


class Crew(Protocol):
    """Carries out jobs: each that was submitted is answered once, in any order."""

    def submit(self, job: Job) -> None:
        """Take on a job.

        Args:
            job: The job; what it depends on is done.
        """
        ...

    def next(self) -> Answer:
        """The next answer; there must be a job that is not answered yet."""
        ...


class Inline:
    """Carries out jobs one after another in this process.

    Args:
        collect: Whether an error becomes an answer; otherwise it is raised as it is.
        on_stage: Called after epochs of a job, once in a while.
    """

    def __init__(self, *, collect: bool, on_stage: OnCellStage | None = None) -> None:
        self._executors = Executors(on_stage)
        self._collect = collect
        self._jobs: deque[Job] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executors.close()

    def submit(self, job: Job) -> None:
        """Take on a job.

        Args:
            job: The job.
        """
        self._jobs.append(job)

    def next(self) -> Answer:
        """Carry out the job that waits longest.

        Raises:
            ShrinkscopeError: If it fails, unless errors are collected.
        """
        job = self._jobs.popleft()
        return self._executors.answer(job) if self._collect else self._executors.carry_out(job)


class Pool:
    """Carries out jobs in worker processes, which end with this process however it ends.

    Args:
        workers: Number of processes; they start at once.
        retries: How often a job is given to another process when its own dies.
        on_stage: Called after epochs of a job, once in a while, while the next answer is waited for.
    """

    def __init__(self, workers: int, *, retries: int = 0, on_stage: OnCellStage | None = None) -> None:
        self._on_stage = on_stage
        self._answers: Said = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._crew = [_Place(self._jobs, self._answers, retries) for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for place in self._crew:
            place.end()
        for _ in self._crew:
            self._jobs.put(None)
        for place in self._crew:
            place.join()

    def submit(self, job: Job) -> None:
        """Take on a job.

        Args:
            job: The job.
        """
        self._jobs.put(job)

    def next(self) -> Answer:
        """Wait for an answer; a job whose process died is answered with an error."""
        while isinstance(said := self._answers.get(), CellStage):
            if self._on_stage is not None:
                self._on_stage(said)
        return said


class _Place:
    """A thread that gives jobs to a process, and to a new one when that has died."""

    def __init__(self, jobs: "queue.SimpleQueue[Job | None]", answers: "Said", retries: int) -> None:
        self._jobs, self._answers, self._retries = jobs, answers, retries
        self._ended = threading.Event()
        self._process = _Process()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the process, wherever it is."""
        self._ended.set()
        self._process.kill()

    def join(self) -> None:
        """Wait for the thread, which must have been told to stop, and release the process."""
        self._thread.join()
        self._process.kill()
        self._process.close()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None and not self._ended.is_set():
            self._answers.put(self._carry_out(job))

    def _carry_out(self, job: Job) -> Answer:
        said = ""
        for _ in range(1 + self._retries):
            answer = self._process.answer(job, self._answers)
            if answer is not None:
                return answer
            said = self._process.obituary(job.cell)
            if self._ended.is_set():
                break
            self._process.close()
            self._process = _Process()
        return Answer(cell=job.cell, run=job.task.run, error=said)


class _Process:
    """One worker process with its pipes."""

    def __init__(self) -> None:
        # Neither a pipe, which must be read, nor the terminal, which shows progress.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            # -P and the path: what this process would import, the worker imports, and nothing else.
            [sys.executable, "-P", "-m", _COMMAND],
            env=os.environ | dict.fromkeys(_THREADS, "1") | {"PYTHONPATH": os.pathsep.join(map(_absolute, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Ctrl-C reaches this process alone, which then ends its workers in order.
            start_new_session=True,
        )

    def kill(self) -> None:
        """End the process, wherever it is."""
        self._process.kill()

    def close(self) -> None:
        """Release the pipes of a process that has ended."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what was buffered for a dead process is lost with it
                pipe.close()
        self._errors.close()

    def _send(self, message: msgspec.Struct) -> bool:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(msgspec.json.encode(message) + b"\n")
            pipe.flush()
        except OSError:
            return False
        return True

    def answer(self, job: Job, said: "Said") -> Answer | None:
        """Pass a job to the process, what it says meanwhile on, and its answer back; None if it dies."""
        pipe = self._process.stdout
        assert pipe is not None
        line = pipe.readline() if self._send(job) else b""
        while line.startswith(_STAGE):
            if line.endswith(b"\n"):
                said.put(msgspec.json.decode(line.removeprefix(_STAGE), type=CellStage))
            line = pipe.readline()
        # A line without its end is what a dying process left.
        return msgspec.json.decode(line, type=Answer) if line.endswith(b"\n") else None

    def obituary(self, cell: Cell) -> str:
        """How the process ended, in words."""
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return (
            f"a worker process {how} in {cell}{f': {said[-1]}' if said else ''}; "
            "finished cells are kept, run the same command again"
        )


def _absolute(entry: str) -> str:
    return os.path.abspath(entry)  # noqa: PTH100  # pathlib turns "" into ".", too, but keeps it relative
