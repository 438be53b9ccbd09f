"""What comparing a pair of files costs as a whole process: this command, a NumPy loop, and sft-cli."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file

SIDE = 4096

NUMPY_LOOP = """
import sys
import numpy as np
from safetensors import safe_open

with safe_open(sys.argv[1], "pt") as first, safe_open(sys.argv[2], "pt") as second:
    for name in first.keys():
        x, y = (side.get_tensor(name).float().numpy() for side in (first, second))
        delta = x - y
        print(name, np.sum(x * x, dtype=np.float64), np.sum(y * y, dtype=np.float64),
              np.sum(delta * delta, dtype=np.float64), np.sum(x * y, dtype=np.float64),
              np.abs(delta).max(), np.count_nonzero(x == 0), np.count_nonzero(y == 0))
"""
"""Seven statistics, tensor by tensor; NumPy has no bf16, so PyTorch widens them."""


class Cost(msgspec.Struct, frozen=True):
    """Wall-clock seconds of a process, its largest resident set and, of it, its own memory, in MB."""

    seconds: float
    resident: float
    private: float


def cost_of(command: list[str]) -> Cost:
    """Run a process and watch its memory: RssAnon is its own, the rest of the resident set the files' pages."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        resident = private = 0
        while process.poll() is None:
            resident, private = (
                max(resident, _kilobytes(process.pid, "VmHWM")),
                max(private, _kilobytes(process.pid, "RssAnon")),
            )
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{command[0]} ended with {process.returncode}: {errors.read().decode()[-500:]}")
    return Cost(seconds, resident / 1e3, private / 1e3)


def _kilobytes(process: int, field: str) -> int:
    try:
        found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def written_pair(folder: Path, gib: float, dtype: torch.dtype) -> tuple[list[str], int]:
    """Two safetensors files of normal weights, the second rounded to eighths; their paths and their parameters."""
    count = max(1, round(gib * (1 << 30) / 2 / (SIDE * SIDE * dtype.itemsize)))
    generator = torch.Generator().manual_seed(0)
    dense = {f"layers.{k}.weight": torch.randn(SIDE, SIDE, generator=generator).to(dtype) for k in range(count)}
    rounded = {name: ((8 * tensor.float()).round() / 8).to(dtype) for name, tensor in dense.items()}
    paths = [str(folder / f"{name}.safetensors") for name in "ab"]
    for path, tensors in zip(paths, (dense, rounded), strict=True):
        save_file(tensors, path)
    return paths, count * SIDE * SIDE


def peers(gib: float, sft: str | None, folder: Path | None, repeats: int) -> None:
    """Print the table for bf16 and f32 files; each command by its best time, in turns.

    Args:
        gib: Size of both files together.
        sft: The executable of sft-cli; None leaves it out and says so.
        folder: Where the files are written.
        repeats: Times that each command runs.
    """
    print("\n| type | GiB | command | statistics | s | M parameters/s | of shrinkscope's | peak RSS MB | private MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for dtype in (torch.bfloat16, torch.float32):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            paths, parameters = written_pair(Path(place), gib, dtype)
            commands = {
                "shrinkscope diff": [sys.executable, "-m", "shrinkscope", "diff", *paths, "--json"],
                "NumPy loop": [sys.executable, "-c", NUMPY_LOOP, *paths],
            }
            if sft is not None:
                commands["sft diff --delta"] = [sft, "diff", *paths, "--delta", "--json"]
            costs = {name: [] for name in commands}
            for _ in range(repeats):
                for name, command in commands.items():
                    costs[name].append(cost_of(command))
            _print_rows(str(dtype).removeprefix("torch."), gib, parameters, costs)
    if sft is None:
        print("\nsft-cli was left out: give its executable with --sft PATH (pip install sft-cli in a venv of its own).")


STATISTICS = {"shrinkscope diff": "20 and two divergences", "NumPy loop": "7", "sft diff --delta": "5"}


def _print_rows(dtype: str, gib: float, parameters: int, costs: dict[str, list[Cost]]) -> None:
    ours = min(cost.seconds for cost in costs["shrinkscope diff"])
    for name, found in costs.items():
        seconds = min(cost.seconds for cost in found)
        resident, private = (max(getattr(cost, field) for cost in found) for field in ("resident", "private"))
        print(
            f"| {dtype} | {gib:g} | {name} | {STATISTICS[name]} | {seconds:.1f} | {parameters / seconds / 1e6:.0f} | "
            f"{ours / seconds:.2f} | {resident:.0f} | {private:.0f} |",
            flush=True,
        )
