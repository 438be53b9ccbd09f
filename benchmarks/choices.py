"""Accuracy of ResNet-20 by what is done to each layer, at the same bytes or operations: prints a table of docs/plan.md.

    python benchmarks/choices.py size 0.25 0.15 0.1
    python benchmarks/choices.py flops 0.5 0.3

Every plan sees the first 512 unlabelled training images; 761 images that neither it nor the network has seen judge.
Nothing is trained afterwards, and batch norm's statistics stay as they were.
"""

import argparse
import copy
import time
from collections.abc import Sequence

import torch
from allocation import DATA, accuracy
from allocation_subjects import Subject, subject

from shrinkscope.analysis.plan import Plan, plan
from shrinkscope.errors import ShrinkscopeError

METHODS = {
    "size": ("unstructured", "bits", "n:m", "low_rank", "magnitude,bits", "magnitude,bits,low_rank"),
    "flops": ("unstructured", "n:m", "2:4", "low_rank", "n:m,low_rank"),
}
ALLOCATIONS = ("uniform", "additive", "joint")
BUDGET = 40_000


def chosen(given: Subject, method: str, allocation: str, target: dict[str, object]) -> Plan | None:
    """A plan; None where the target is out of reach."""
    try:
        return plan(
            given.network,
            inputs=given.unlabelled(0),
            method=method,
            allocation=allocation,  # type: ignore[arg-type]
            budget=BUDGET,
            **target,  # type: ignore[arg-type]
        )
    except ShrinkscopeError:
        return None


def judged(given: Subject, made: Plan | None) -> str:
    """Percent of images whose class is found when the plan is carried out."""
    if made is None:
        return "–"
    network = copy.deepcopy(given.network)
    made.apply(network)
    return f"{accuracy(network, *given.judge):.1f}"


def table(given: Subject, currency: str, shares: Sequence[float], methods: Sequence[str]) -> None:
    """Print a row a method and share, as it is measured."""
    print(f"Dense: {accuracy(given.network, *given.judge):.1f} % of {len(given.judge[1])} images.\n", flush=True)
    print(f"| {currency} | method | {' | '.join(ALLOCATIONS)} | forward-equivalents | seconds |")
    print(f"|---|---|{'---|' * (len(ALLOCATIONS) + 2)}", flush=True)
    for share in shares:
        target: dict[str, object] = {currency: f"{share:g}x" if currency == "size" else share}
        for method in methods:
            found, spent, started = [], "", 0.0
            for allocation in ALLOCATIONS:
                started = time.perf_counter()
                made = chosen(given, method, allocation, target)
                found.append(judged(given, made))
                spent = "–" if made is None else f"{made.forward_equivalents:,.0f}"
            cells = [f"{share:g}x", f"`{method}`", *found, spent, f"{time.perf_counter() - started:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("currency", choices=[*METHODS])
    parser.add_argument("shares", nargs="+", type=float)
    parser.add_argument("--methods", nargs="+", help="others than those of the page")
    asked = parser.parse_args()
    methods = asked.methods or METHODS[asked.currency]
    table(subject("resnet20", DATA), asked.currency, asked.shares, methods)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
