"""Accuracy without some of the channels, at the same operations, beside Torch-Pruning: prints a table of docs/plan.md.

    python benchmarks/channels.py resnet20 0.7 0.5 0.3

Every plan sees 512 unlabelled training images (EfficientNet-Lite0: 256 of the sample); images that neither it nor the
network has seen judge. Nothing is trained afterwards. Torch-Pruning removes what its own importance names, of every
layer the same share or of all together, at the share that first takes no more operations than the plan may.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable

import torch
import torch_pruning
from allocation import DATA, accuracy
from allocation_subjects import NETWORKS, Subject, subject
from torch import nn

from shrinkscope.analysis.plan import plan
from shrinkscope.analysis.plan.prices import counted_operations
from shrinkscope.errors import ShrinkscopeError
from shrinkscope.performance import reestimate_statistics
from shrinkscope.weights import compressible

ALLOCATIONS = ("uniform", "global", "additive", "joint")
BUDGET = 40_000
_HALVINGS = 8  # of the share of channels


def operations(network: nn.Module, given: Subject) -> int:
    """Of a pass over one input."""
    return counted_operations(network, compressible(network), given.unlabelled(0)[:1])[0]


def cut_by_torch_pruning(given: Subject, most: float, *, together: bool) -> tuple[nn.Module | None, int | None, str]:
    """What Torch-Pruning leaves within so many operations, and how many these are; None where it cannot."""
    example = given.unlabelled(0)[:1]

    def cut(share: float) -> nn.Module:
        network = copy.deepcopy(given.network)
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        torch_pruning.pruner.MagnitudePruner(
            network,
            example,
            torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            global_pruning=together,
            ignored_layers=[last],
        ).step()
        return network

    low, high = 0.0, 0.95
    try:
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if operations(cut(middle), given) <= most else (middle, high)
        network = cut(high)
        return network, operations(network, given), "–"
    except Exception as error:  # of its code or the network's, on shapes that do not fit: it is what is measured
        print(f"Torch-Pruning: {type(error).__name__}: {str(error).splitlines()[0]}")
        return None, None, "–"


def judged(given: Subject, network: nn.Module | None) -> tuple[str, str]:
    """Percent of images whose class is found, as it is and with batch norm's statistics re-estimated."""
    if network is None:
        return "–", "–"
    plain = accuracy(network, *given.judge)
    if not given.normalised:
        return f"{plain:.1f}", "–"
    reestimate_statistics(network, given.unlabelled(0))
    return f"{plain:.1f}", f"{accuracy(network, *given.judge):.1f}"


def measured(given: Subject, share: float) -> None:
    """Print a row for each way to choose."""
    dense = operations(given.network, given)
    ways: dict[str, Callable[[], tuple[nn.Module | None, int | None, str]]] = {
        f"`{allocation}`": lambda allocation=allocation: planned(given, share, allocation) for allocation in ALLOCATIONS
    }
    for name, together in (("Torch-Pruning, each layer", False), ("Torch-Pruning, global", True)):
        ways[name] = lambda together=together: cut_by_torch_pruning(given, share * dense, together=together)
    for name, way in ways.items():
        started = time.perf_counter()
        network, taken, spent = way()
        seconds = time.perf_counter() - started
        found = "–" if taken is None else f"{taken / dense:.3f}"
        cells = [f"{share:g}", name, found, *judged(given, network), spent, f"{seconds:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def planned(given: Subject, share: float, allocation: str) -> tuple[nn.Module | None, int | None, str]:
    """A network with its channels at zero, its operations, and what choosing them took."""
    try:
        made = plan(
            given.network,
            inputs=given.unlabelled(0),
            method="structured",
            allocation=allocation,  # type: ignore[arg-type]
            flops=share,
            budget=BUDGET,
        )
    except ShrinkscopeError as error:
        print(f"{allocation}: {error}")
        return None, None, "–"
    network = copy.deepcopy(given.network)
    made.apply(network)
    return network, made.operations, f"{made.forward_equivalents:,.0f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("shares", nargs="+", type=float)
    asked = parser.parse_args()
    given = subject(asked.network, DATA)
    print(f"{asked.network}: {accuracy(given.network, *given.judge):.1f} % of {len(given.judge[1])} images.\n")
    print("| operations | chosen by | taken | accuracy % | re-estimated | forward-equivalents | seconds |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for share in asked.shares:
        measured(given, share)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main()
