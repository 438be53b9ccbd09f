"""The worker processes of a Ray cluster that this process has started."""

import os
import time
from pathlib import Path


def kill_a_worker(task: str, signal: int, patience: float = 60.0) -> int:
    """Kill a process that is carrying out a task, as soon as there is one.

    Args:
        task: Name of the function.
        signal: The signal.
        patience: Seconds to wait for one.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for process in carrying_out(task):
            try:
                os.kill(process, signal)
            except ProcessLookupError:
                continue
            return process
        time.sleep(0.002)
    raise AssertionError(f"no worker of Ray was carrying out {task}")


def carrying_out(task: str) -> list[int]:
    """Found by the name that Ray gives them; other tests may run clusters of their own at the same time."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().startswith(f"ray::{task}".encode()) and _is_ours(int(entry.name)):
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def descendants(of: int) -> set[int]:
    """Every process that this one has started, directly or not."""
    return {int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _descends(int(entry.name), of)}


def _is_ours(process: int) -> bool:
    return _descends(process, os.getpid())


def _descends(process: int, ancestor: int) -> bool:
    try:
        while process > 1:
            process = int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
            if process == ancestor:
                return True
    except OSError:
        pass
    return False
