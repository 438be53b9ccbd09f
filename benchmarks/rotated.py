"""Rotated covariances: the operator against the paper's dense construction as the dimension grows, and its law.

    .venv/bin/python benchmarks/rotated.py            tables 1 and 2, about two minutes on one core
    .venv/bin/python benchmarks/rotated.py --large    table 3 too: 10^8 dimensions, all cores, 4 GB of memory

1. Drawing V and one quadratic form, dense (eigenvectors of R + R^T) and by `RandomHadamard`: CPU seconds, and the peak
   of resident memory above that of the vector, each measured in a process of its own.
2. The largest Kolmogorov-Smirnov distance between the operator's quadratic forms and the exact Haar law over 36 pairs
   of a difference and a spectrum, and the smallest p-value (0.02 is what 36 independent ones have by chance).
3. 10^8 dimensions: wall and CPU seconds of drawing V, setting up the spectrum and one quadratic form; peak memory.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kstest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for the exact law

from references.haar import squared_directions
from shrinkscope.divergence.covariance import PowerLaw, RandomEigenvectors, RandomHadamard, Rotated

DENSE, OURS = "dense", "ours"
DIMENSIONS = (256, 512, 1024, 2048, 4096, 20_480, 10**6, 10**7)
LARGEST_DENSE = 4096
LARGE = 10**8
LAW = ((67, 16, 10_000), (131, 32, 10_000), (300, 16, 10_000), (1009, 32, 5_000), (4099, 32, 2_000))
REFERENCE = 50_000  # draws of the exact law


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(kind: str, dim: int) -> dict[str, float]:
    """One construction and one quadratic form in this process."""
    operator = RandomEigenvectors if kind == DENSE else RandomHadamard
    small = Rotated(operator(256, torch.Generator()), PowerLaw())  # libraries load before the clock starts
    small.quadratic(torch.ones(256, dtype=torch.float64))
    delta = torch.randn(dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    memory, cpu, wall = peak_memory(), time.process_time(), time.perf_counter()
    rotation = operator(dim, torch.Generator().manual_seed(1))
    drawn = time.process_time() - cpu
    form = float(Rotated(rotation, PowerLaw()).quadratic(delta))
    return {
        "drawn": drawn,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "memory": peak_memory() - memory,
        "peak": peak_memory(),
        "form": form / (float(delta @ delta) * (dim + 1) / 2),
    }


def in_own_process(kind: str, dim: int, threads: int) -> dict[str, float]:
    """`measure` in a fresh process, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--measure", kind, str(dim), "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_growth() -> None:
    """Table 1: time and memory as the dimension grows."""
    print("1. Drawing V and one quadratic form, one thread\n")
    print(f"{'dim':>11} {'dense s':>9} {'ours s':>9} {'ratio':>8} {'dense MiB':>10} {'ours MiB':>9} {'ratio':>7}")
    for dim in DIMENSIONS:
        ours = in_own_process(OURS, dim, 1)
        print(f"{dim:11,}", end="")
        if dim <= LARGEST_DENSE:
            dense = in_own_process(DENSE, dim, 1)
            memory = max(ours["memory"], 2**16)  # below the page size and allocator's reserve there is nothing to see
            print(f" {dense['cpu']:9.3f} {ours['cpu']:9.4f} {dense['cpu'] / ours['cpu']:7,.1f}x", end="")
            print(f" {dense['memory'] / 2**20:10.1f} {ours['memory'] / 2**20:9.1f} {dense['memory'] / memory:6,.0f}x")
        else:
            matrix = f"({8 * dim * dim / 2**30:,.0f} GiB)"
            print(f" {'-':>9} {ours['cpu']:9.3f} {'':>8} {matrix:>20} {ours['memory'] / 2**20:9.1f}")
    print("\nIn brackets: the matrix alone, not formed. Ratios of memory take at least 64 KiB for ours.\n")


def differences(dim: int) -> torch.Tensor:
    """Unit vectors: the first and the last weight removed, two, all of one sign, dense, the smallest 30 % removed."""
    normals = torch.randn(dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    eye = torch.eye(dim, dtype=torch.float64)
    smallest = torch.where(normals.abs() < normals.abs().quantile(0.3), normals, 0.0)
    rows = torch.stack([eye[0], eye[-1], eye[0] + eye[dim // 2], torch.ones_like(normals), normals, smallest])
    return rows / rows.norm(dim=-1, keepdim=True)


def inverse_spectra(dim: int) -> list[np.ndarray]:
    """Power laws either way round, uniform, two levels, one direction that counts, first and last."""
    rank = np.arange(1, dim + 1, dtype=np.float64)
    halves, first = 1 + 9.0 * (rank > dim / 2), (rank == 1).astype(np.float64)
    return [rank, rank[::-1].copy(), 1 / (0.5 + (rank - 0.5) / dim), halves, first, first[::-1].copy()]


def forms_of_operator(dim: int, block: int, draws: int, spectra: np.ndarray) -> np.ndarray:
    """Quadratic forms of the differences for draws of V, shape (draws, differences, spectra)."""
    generator, vectors = torch.Generator().manual_seed(dim), differences(dim)
    operators = (RandomHadamard(dim, generator, block=block) for _ in range(draws))
    return np.stack([operator.transpose(vectors).square().numpy() @ spectra for operator in operators])


def print_law() -> None:
    """Table 2: distance from the Haar law."""
    print("2. Quadratic forms of 6 differences under 6 spectra against the Haar law\n")
    print(f"{'dim':>11} {'block':>6} {'draws of V':>11} {'largest distance':>17} {'smallest p of 36':>17}")
    for dim, block, draws in LAW:
        spectra = np.stack(inverse_spectra(dim), axis=1)
        forms, directions = forms_of_operator(dim, block, draws, spectra), np.random.default_rng(dim)
        exact = np.concatenate([squared_directions(dim, 1000, directions) @ spectra for _ in range(REFERENCE // 1000)])
        tests = [kstest(forms[:, i, j], exact[:, j]) for i in range(6) for j in range(6)]
        print(f"{dim:11,} {block:6} {draws:11,} {max(t.statistic for t in tests):17.4f}", end="")
        print(f" {min(t.pvalue for t in tests):17.1e}")
    print()


def print_large(threads: int) -> None:
    """Table 3: 10^8 dimensions."""
    found = in_own_process(OURS, LARGE, threads)
    print(
        f"3. dim {LARGE:,}, {threads} threads: {found['wall']:.1f} s ({found['cpu']:.1f} s of CPU), ",
        end="",
    )
    print(
        f"{found['memory'] / 2**30:.2f} GiB beside the vector, {found['peak'] / 2**30:.2f} GiB for the whole process;"
    )
    print(f"   quadratic form over its mean under the Haar law: {found['form']:.6f}")


def main() -> None:
    """Print the tables; with --measure, one measurement as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--measure", nargs=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cores = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]))))
        return
    print(f"torch {torch.__version__}\n")
    print_growth()
    print_law()
    if options.large:
        print_large(cores)


if __name__ == "__main__":
    main()
