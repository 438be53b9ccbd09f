"""The scan of ResNet-20 against the loop that users write: copy, compress, run the whole network.

python benchmarks/scan.py [--data FOLDER] [--repeats N]    two minutes a repeat

20 layers × 3 methods × 4 levels = 240 candidates, 64 inputs, one thread. All ways run in turn in the same process; the
median of their processor times counts, which other work on the machine disturbs least. The folder holds
cifar10_lossless_4566.npz and weights/cifar10_resnet20_akamaster.npz.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from shrinkscope import LayerSelection, MagnitudePruning, RandomPruning, compress, scan
from shrinkscope.analysis import Scan
from shrinkscope.experiments.zoo import load_network
from shrinkscope.performance import predictions
from shrinkscope.weights import compressible, open_weights

Result = TypeVar("Result")

LEVELS = (0.3, 0.5, 0.7, 0.9)
METHODS = ("lowest", "highest", "random")
INPUTS = 64
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(folder: Path) -> nn.Module:
    """ResNet-20 with the weights of the folder."""
    model = load_network("resnet20").eval()
    source = open_weights(folder / "weights" / "cifar10_resnet20_akamaster.npz")
    model.load_state_dict({name: view.read() for name, view in source.items()}, strict=False)
    return model


def images(folder: Path) -> Tensor:
    """The first test images of the lossless subset, standardised as the weights were trained."""
    with np.load(folder / "cifar10_lossless_4566.npz") as archive:
        pixels = torch.from_numpy(archive["x_test"][:INPUTS]).float() / 255
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def loop(model: nn.Module, inputs: Tensor) -> dict[tuple[str, str, float], float]:
    """What users write: for each candidate a copy, compress, both networks run; the predictive KL in nats."""
    found = {}
    for layer in compressible(model):
        only = LayerSelection(include=(layer,))
        for level in LEVELS:
            methods = {
                "lowest": MagnitudePruning(level=level, layers=only),
                "highest": MagnitudePruning(level=level, order="highest", layers=only),
                "random": RandomPruning(level=level, layers=only),
            }
            for name, method in methods.items():
                other = copy.deepcopy(model)
                compress(other, method, generator=torch.Generator().manual_seed(0))
                found[layer, name, level] = float(predictions(model, other, inputs).kl.mean())
    return found


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of processor time, and what came out."""
    begun = time.process_time()
    result = run()
    return time.process_time() - begun, result


def main() -> None:
    """Run both ways in turn and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, inputs = network(arguments.data), images(arguments.data)
    options = {"inputs": inputs, "methods": METHODS, "levels": LEVELS, "latents": ()}
    ways: dict[str, Callable[[], object]] = {
        "copy, compress, run both": lambda: loop(model, inputs),
        "scan, nothing held": lambda: scan(model, **options, early_stop=False, memory=0),
        "scan, every level": lambda: scan(model, **options, early_stop=False),
        "scan": lambda: scan(model, **options),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, object] = {}
    for _ in range(arguments.repeats):
        for name, run in ways.items():
            took, results[name] = timed(run)
            seconds[name].append(took)
    report({name: statistics.median(times) for name, times in seconds.items()}, results)


def report(seconds: dict[str, float], results: dict[str, Any]) -> None:
    """Seconds, ratio to the loop, forward-equivalents, and the largest difference of a number from the loop's."""
    expected = results["copy, compress, run both"]
    print(f"{'':28}{'seconds':>9}{'ratio':>8}{'forwards':>10}{'run':>6}{'largest difference':>20}")
    for name, took in seconds.items():
        ratio = seconds["copy, compress, run both"] / took
        result = results[name]
        if isinstance(result, Scan):
            rows = {(row.layer, row.method, row.level): row.predictive_kl for row in result.rows}
            measured = {key: kl.value for key, kl in rows.items() if kl is not None}
            worst = f"{max(abs(value - expected[key]) for key, value in measured.items()):.1e}"
            forwards, run = result.cost.forward_equivalents, len(measured)
        else:
            forwards, run, worst = 2.0 * len(expected), len(expected), ""
        print(f"{name:28}{took:9.2f}{ratio:8.2f}{forwards:10.1f}{run:6}{worst:>20}")
    print(results["scan"].summary())


if __name__ == "__main__":
    main()
