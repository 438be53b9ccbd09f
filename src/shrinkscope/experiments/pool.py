"""Worker processes that carry out cells side by side."""

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self

import msgspec

from shrinkscope.experiments.executor import Answer, Executor, Task
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.study import StudyError

OnAnswer = Callable[[Answer], None]

_COMMAND = "shrinkscope.experiments.worker"
# One thread a worker: two workers on two cores would only wait for each other's threads.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Inline:
    """Carries out cells one after another in this process.

    Args:
        task: What the cells share.

    Raises:
        StoreError: If the store cannot be opened.
    """

    def __init__(self, task: Task) -> None:
        self._executor = Executor(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.close()

    def run(self, cells: Sequence[Cell], on_answer: OnAnswer) -> None:
        """Carry out cells.

        Args:
            cells: The cells.
            on_answer: Called after each.

        Raises:
            ShrinkscopeError: If one fails; those before it are kept.
        """
        for cell in cells:
            on_answer(self._executor.carry_out(cell))


class Pool:
    """Carries out cells in worker processes, which end with this process however it ends.

    Args:
        task: What the cells share.
        workers: Number of processes; they start at once.
    """

    def __init__(self, task: Task, workers: int) -> None:
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._cells: queue.SimpleQueue[Cell | None] = queue.SimpleQueue()
        self._processes = [_Process(task) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=process.serve, args=(self._cells, self._answers), daemon=True)
            for process in self._processes
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for _ in self._threads:
            self._cells.put(None)
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.close()

    def run(self, cells: Sequence[Cell], on_answer: OnAnswer) -> None:
        """Carry out cells, in any order.

        Args:
            cells: The cells; none depends on another.
            on_answer: Called in this thread after each.

        Raises:
            StudyError: If one fails or a worker dies; finished cells are kept.
        """
        for cell in cells:
            self._cells.put(cell)
        for _ in cells:
            answer = self._answers.get()
            if answer.error is not None:
                raise StudyError(answer.error)
            on_answer(answer)


class _Process:
    """One worker process with its pipes."""

    def __init__(self, task: Task) -> None:
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
        self._task = task

    def serve(self, cells: "queue.SimpleQueue[Cell | None]", answers: "queue.SimpleQueue[Answer]") -> None:
        """Pass cells to the process and its answers back, until None comes or the process dies."""
        alive = self._send(self._task)
        while alive and (cell := cells.get()) is not None:
            answer = self._answer(cell)
            alive = answer is not None
            answers.put(answer or Answer(cell=cell, error=self._obituary(cell)))

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

    def _answer(self, cell: Cell) -> Answer | None:
        pipe = self._process.stdout
        assert pipe is not None
        line = pipe.readline() if self._send(cell) else b""
        # A line without its end is what a dying process left.
        return msgspec.json.decode(line, type=Answer) if line.endswith(b"\n") else None

    def _obituary(self, cell: Cell) -> str:
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
