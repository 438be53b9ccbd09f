"""Measured cases on disk: small files that are written as the cases finish, so that a run that is killed goes on."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from leaderboard_cases import Case

from shrinkscope.files import atomic_path

TOGETHER = 20  # cases a file

Record = dict[str, Any]


def measured(folder: Path, stage: str) -> list[Record]:
    """What is there of a stage, in the order in which it was measured."""
    files = sorted(folder.glob(f"{stage}-*.pt"))
    return [record for file in files for record in torch.load(file, weights_only=True)]


def measure(
    folder: Path, stage: str, chosen: Sequence[Case], one: Callable[[Case], Record], until: float | None = None
) -> None:
    """Measure the cases that are not there yet.

    Args:
        folder: Where the records of the network are kept.
        stage: What is measured.
        chosen: The cases, in order.
        one: Measures one.
        until: Seconds since the epoch after which no further file is begun.
    """
    groups = [chosen[start : start + TOGETHER] for start in range(0, len(chosen), TOGETHER)]
    begun, done = time.perf_counter(), 0
    missing = [(index, group) for index, group in enumerate(groups) if not _file(folder, stage, index).exists()]
    for index, group in missing:
        if until is not None and time.time() > until:
            print(f"{folder.name}, {stage}: out of time", flush=True)
            return
        records = [one(case) for case in group]
        with atomic_path(_file(folder, stage, index)) as path:
            torch.save(records, path)
        done += len(group)
        rate = (time.perf_counter() - begun) / done
        left = rate * (sum(len(group) for _, group in missing) - done)
        print(f"{folder.name}, {stage}: {done} cases, {rate:.2f} s each, {left:.0f} s left", flush=True)


def _file(folder: Path, stage: str, index: int) -> Path:
    return folder / f"{stage}-{index:04d}.pt"
