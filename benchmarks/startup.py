"""How long the command line takes to answer --help, beside importing torch, which it does not do.

    python benchmarks/startup.py

Whole processes, the median of five after one warm-up; the limit is what an empty Python process takes.
"""

import statistics
import subprocess
import sys
import time

RUNS = 5


def seconds(*arguments: str) -> float:
    """Median wall-clock time of a Python process."""
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def main() -> None:
    """Print the table."""
    empty, torch = seconds("-c", "pass"), seconds("-c", "import torch")
    print(f"{'command':32} {'seconds':>8} {'× empty':>8} {'torch / ours':>13}")
    print(f"{'python -c pass (the limit)':32} {empty:8.3f} {1.0:8.1f} {torch / empty:13.1f}")
    for verb in ([], ["demo"], ["diff"], ["explain"], ["runs"]):
        ours = seconds("-m", "shrinkscope", *verb, "--help")
        name = " ".join(["shrinkscope", *verb, "--help"])
        print(f"{name:32} {ours:8.3f} {ours / empty:8.1f} {torch / ours:13.1f}")
    print(f"{'python -c import torch':32} {torch:8.3f} {torch / empty:8.1f} {1.0:13.1f}")


if __name__ == "__main__":
    main()
