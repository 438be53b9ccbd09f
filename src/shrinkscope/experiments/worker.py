"""A worker process: one cell a line on standard input, one answer a line on standard output; between answers, how far.

Lines that begin with ``stage`` are no answers.

Started as ``python -m shrinkscope.experiments.worker``: a program of its own instead of a copy of the caller's, so
that a study can be run from a notebook, from standard input, or from a script without a main guard.
"""

import os
import queue
import sys
import threading
from typing import BinaryIO

import msgspec

from shrinkscope.experiments.executor import Executors, Job
from shrinkscope.experiments.stage import CellStage

Lines = queue.SimpleQueue[bytes]


def main() -> None:
    """Answer cells until standard input ends; end at once when it ends in the middle of one."""
    answers = _private_output()
    lines = _read_input()

    def tell(stage: CellStage) -> None:
        answers.write(b"stage " + msgspec.json.encode(stage) + b"\n")
        answers.flush()

    executors = Executors(tell)
    while True:
        answer = executors.answer(msgspec.json.decode(lines.get(), type=Job))
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


def _private_output() -> BinaryIO:
    """The pipe to the caller; whatever else is printed goes to standard error from now on."""
    private = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return private


def _read_input() -> Lines:
    lines = Lines()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        # The caller is gone or needs this worker no more. A cell leaves nothing half-written, wherever it is ended.
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


if __name__ == "__main__":
    main()
