"""Student-t divergence: the exact integral against the paper's sampling procedure at the paper's own size.

    .venv/bin/python benchmarks/student_t.py

Prints, all from one run, in seconds of one core (CPU time, so that a busy machine changes no ratio much):
1. for distances from 1e-3 to 30: the reference (mpmath), the relative error of ours and of one repeat of the procedure,
   the standard error that the procedure should report, and the times;
2. the time of a single value (of a dim and df that were asked for before, and for the first time), and of each of
   1,000 values of one (dim, df), forward and with the gradient, in several regimes up to 10^10 dimensions;
3. the whole job at dim = 10^8: the distance of two weight vectors, then the divergence.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for the mpmath references

from references import student_t as reference
from shrinkscope.divergence import student_t_kl

DF, MEANS, SAMPLES, CHUNK = 4, 100, 600_000, 20_000  # the paper's size; a chunk of samples takes 8 MB
DISTANCES = (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
REGIMES = ((1, 0.5), (3, 4), (100, 4), (20_480, 4), (10**8, 4), (10**10, 1e6))
WEIGHTS = 10**8


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median CPU time of ``action`` after one call to warm up."""
    action()
    durations = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        durations.append(time.process_time() - start)
    return median(durations)


def sampled(delta: float, generator: torch.Generator) -> tuple[float, float]:
    """One repeat of the paper's procedure with its standard error: the mean of log p(x) - log q(x) for x ~ p.

    Favourable to the procedure: float32 normals (the fastest), identity scale without a triangular solve, constants of
    the densities cancelled, log p - log q as one log1p of a float64 quotient, memory of one chunk.
    """
    ratios = torch.cat(list(_log_ratios(delta, generator)))
    return float(ratios.mean()), float(ratios.std() / math.sqrt(len(ratios)))


def _log_ratios(delta: float, generator: torch.Generator) -> Iterator[torch.Tensor]:
    shift = torch.full((MEANS,), delta / math.sqrt(MEANS))
    for _ in range(SAMPLES // CHUNK):
        normal = torch.randn(CHUNK, MEANS, generator=generator)
        precision = torch.randn(CHUNK, DF, generator=generator).square().mean(1)  # chi-squared with 4 degrees, over 4
        scale = precision.double().rsqrt()
        inner = (normal @ shift).double() * scale
        squared = torch.linalg.vector_norm(normal, dim=1).double().square() * scale.square()
        yield (DF + MEANS) / 2 * torch.log1p((delta**2 - 2 * inner) / (DF + squared))


def print_accuracy() -> None:
    """Table 1: accuracy and time against sampling."""
    generator = torch.Generator().manual_seed(0)
    print(f"1. dim {MEANS}, df {DF}; sampling: {SAMPLES:,} samples, one repeat\n")
    print(f"{'delta':>7} {'KL (nats)':>14} {'error ours':>11} {'error sampled':>14} {'its std. error':>15}", end="")
    print(f" {'ours ms':>8} {'sampled ms':>11} {'ratio':>9}")
    ours_total = sampled_total = 0.0
    for delta in DISTANCES:
        exact = reference.by_line_integral(MEANS, DF, delta)
        ours = seconds(lambda delta=delta: student_t_kl(delta, dim=MEANS, df=DF), 201)
        start = time.process_time()
        estimate, standard_error = sampled(delta, generator)
        spent = time.process_time() - start
        errors = [
            reference.relative_error(value, exact) for value in (student_t_kl(delta, dim=MEANS, df=DF).item(), estimate)
        ]
        print(f"{delta:7g} {float(exact):14.7e} {errors[0]:11.1e} {errors[1]:14.1e}", end="")
        print(f" {standard_error / float(exact):15.1e} {ours * 1e3:8.3f} {spent * 1e3:11.0f} {spent / ours:8,.0f}x")
        ours_total, sampled_total = ours_total + ours, sampled_total + spent
    batch = torch.logspace(-3, math.log10(30), 1000, dtype=torch.float64)
    amortised = seconds(lambda: student_t_kl(batch, dim=MEANS, df=DF), 21) / len(batch)
    mean = sampled_total / len(DISTANCES)
    print(f"\nmean ratio, single values: {sampled_total / ours_total:,.0f}x; ", end="")
    print(f"per value of 1,000 in one call ({amortised * 1e6:.1f} us): {mean / amortised:,.0f}x\n")


def print_cost() -> None:
    """Table 2: time per value in several regimes."""
    print("2. Time of one call, and per value of a call with 1,000 distances from 1e-3 to 1e3 sqrt(dim)\n")
    print(f"{'dim':>12} {'df':>9} {'single ms':>10} {'first ms':>9} {'amortised us':>13} {'with gradient us':>17}")
    for dim, df in REGIMES:
        batch = torch.logspace(-3, 3 + math.log10(dim) / 2, 1000, dtype=torch.float64)
        single = seconds(lambda dim=dim, df=df: student_t_kl(1.0, dim=dim, df=df), 201)
        fresh = (df * (1 + step * 1e-9) for step in count(1))
        first = seconds(lambda dim=dim, fresh=fresh: student_t_kl(1.0, dim=dim, df=next(fresh)), 201)
        many = seconds(lambda batch=batch, dim=dim, df=df: student_t_kl(batch, dim=dim, df=df), 21)
        both = seconds(lambda batch=batch, dim=dim, df=df: _gradient(batch, dim, df), 21)
        print(f"{dim:12,} {df:9g} {single * 1e3:10.3f} {first * 1e3:9.3f} {many * 1e3:13.1f} {both * 1e3:17.1f}")
    print()


def _gradient(batch: torch.Tensor, dim: int, df: float) -> torch.Tensor:
    variable = batch.clone().requires_grad_()
    (slope,) = torch.autograd.grad(student_t_kl(variable, dim=dim, df=df).sum(), variable)
    return slope


def print_full_dimension() -> None:
    """Table 3: AP3 in full dimension at the size of VGG16's first dense layer."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(WEIGHTS, generator=generator)
    pruned = torch.where(dense.abs() < 0.5, 0.0, dense)
    start = time.process_time()
    squares = sum(
        (a.double() - b.double()).square().sum() for a, b in zip(dense.split(2**20), pruned.split(2**20), strict=True)
    )
    delta = math.sqrt(squares)
    middle = time.process_time()
    divergence = student_t_kl(delta, dim=WEIGHTS, df=DF).item()
    end = time.process_time()
    print(f"3. dim {WEIGHTS:,}: delta = {delta:.6g} in {middle - start:.2f} s, ", end="")
    print(f"KL = {divergence:.10g} nats in {(end - middle) * 1e3:.3f} ms")


def main() -> None:
    """Run the three tables on one core."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread\n")
    print_accuracy()
    print_cost()
    print_full_dimension()


if __name__ == "__main__":
    main()
