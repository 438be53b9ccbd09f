"""How long the command line takes to answer --help and to compare two tiny files, beside importing torch.

    python benchmarks/startup.py

Whole processes, the median of five after one warm-up; the limit is what an empty Python process takes.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5


def seconds(*arguments: str) -> float:
    """Median wall-clock time of a Python process."""
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def tiny_diff() -> float:
    """Seconds of a whole comparison of two files of one small tensor each."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("a.safetensors", "b.safetensors")]
        script = (
            "import sys, torch; from safetensors.torch import save_file; save_file({'w': torch.eye(4)}, sys.argv[1])"
        )
        for path in paths:
            subprocess.run([sys.executable, "-c", script, path], check=True)
        return seconds("-m", "shrinkscope", "diff", *paths)


def main() -> None:
    """Print the table."""
    empty, torch = seconds("-c", "pass"), seconds("-c", "import torch")
    print(f"{'command':32} {'seconds':>8} {'× empty':>8} {'torch / ours':>13}")
    print(f"{'python -c pass (the limit)':32} {empty:8.3f} {1.0:8.1f} {torch / empty:13.1f}")
    for verb in ([], ["demo"], ["diff"], ["explain"], ["runs"]):
        ours = seconds("-m", "shrinkscope", *verb, "--help")
        name = " ".join(["shrinkscope", *verb, "--help"])
        print(f"{name:32} {ours:8.3f} {ours / empty:8.1f} {torch / ours:13.1f}")
    ours = tiny_diff()
    print(f"{'shrinkscope diff, two tiny files':32} {ours:8.3f} {ours / empty:8.1f} {torch / ours:13.1f}")
    print(f"{'python -c import torch':32} {torch:8.3f} {torch / empty:8.1f} {1.0:13.1f}")


if __name__ == "__main__":
    main()
