"""Latents that know the inputs against latents that do not: which of them ranks what pruning one layer costs.

    .venv/bin/python benchmarks/informed_latents.py --data ../shared/data        about ten minutes on one core
    .venv/bin/python benchmarks/informed_latents.py --data ../shared/data --network stories260k

ResNet-20 of CIFAR-10. Each of its 20 weights alone is pruned by three methods (lowest, random, highest magnitudes) at
four levels (20, 40, 60, 80 %): 240 cases. Each is measured by the difference of the cross-entropy on 761 test images in
their original form. The latents see unlabelled training images, and no label.

Or the language model stories260K: its 35 linear weights, 420 cases, measured by the mean KL divergence a token of the
predictions on sequences that the dense network itself has written, and that the latents do not see.

Printed: seconds to gather each statistic, and Spearman's correlation of each column with the measured difference, over
all cases and within each method. A column that is missing in a case would be an error, not a zero.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.analysis import compare
from shrinkscope.analysis.explain import runnable
from shrinkscope.analysis.informed import informed_latents
from shrinkscope.compression import MagnitudePruning, RandomPruning, prune
from shrinkscope.experiments.zoo import load_network
from shrinkscope.experiments.zoo.llama import read_llama2c
from shrinkscope.performance import predictive_divergence, synthetic_tokens
from shrinkscope.weights import compressible

HELD_OUT, POSITIONS = 64, 64
"""Sequences of tokens that the damage is measured on, and their length."""

LEVELS = (0.2, 0.4, 0.6, 0.8)
METHODS: dict[str, Callable[[float, str], Any]] = {
    "lowest": lambda level, layer: MagnitudePruning(level=level, layers=layer),
    "random": lambda level, layer: RandomPruning(level=level, layers=layer),
    "highest": lambda level, layer: MagnitudePruning(level=level, order="highest", layers=layer),
}


def load_images(folder: Path, inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised test images, their classes, and training images."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with np.load(folder / "cifar10_lossless_4566.npz") as archive:
        test, train = (
            (torch.from_numpy(archive[name]).to(torch.float32) / 255 - mean[:, None, None]) / deviation[:, None, None]
            for name in ("x_test", "x_train")
        )
        labels = torch.from_numpy(archive["y_test_all"][archive["test_index"]].astype(np.int64))
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:inputs]
    return test, labels, train[chosen]


class Task(NamedTuple):
    """A network, what its latents see, and what a compressed one is measured by, in nats."""

    network: nn.Module
    inputs: Tensor
    layers: list[str]
    damage: Callable[[nn.Module], float]


def images_task(data: Path, inputs: int) -> Task:
    """ResNet-20 on CIFAR-10: the difference of the cross-entropy."""
    network = runnable(data / "weights/cifar10_resnet20_akamaster.npz", load_network("resnet20")).eval()
    images, labels, seen = load_images(data, inputs)
    before = loss(network, images, labels)
    return Task(network, seen, [*compressible(network)], lambda pruned: loss(pruned, images, labels) - before)


def stories_task(data: Path, inputs: int) -> Task:
    """stories260K: the divergence of the predictions on sequences of its own."""
    network = read_llama2c(data / "weights/stories260K_llama2c_v0.bin", transpositions=5)
    generator = torch.Generator().manual_seed(0)
    found = synthetic_tokens(network, POSITIONS, inputs + HELD_OUT, generator, start=1)
    seen, measured = found.inputs[:inputs], found.inputs[inputs:]
    layers = [name for name in compressible(network) if name.endswith("_proj.weight")]
    return Task(network, seen, layers, lambda pruned: predictive_divergence(network, pruned, measured).kl.value)


def gathered(task: Task, few: int) -> list[Any]:
    """Every latent, with the seconds that each statistic took."""
    latents: list[Any] = ["gaussian"]
    for names in (["input", "relative_input", "student_t_input", "input_diagonal"], ["fisher"], ["kfac"]):
        start = time.perf_counter()
        latents += informed_latents(names, task.network, task.inputs, layers=task.layers)
        print(f"{names[0]:10} of {len(task.inputs)} inputs {time.perf_counter() - start:7.1f} s", flush=True)
    return latents + informed_latents(["gauss_newton"], task.network, task.inputs[:few], layers=task.layers)


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats."""
    with torch.no_grad():
        return float(cross_entropy(torch.cat([network(part) for part in images.split(256)]).to(torch.float64), labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=("resnet20", "stories260k"), default="resnet20")
    parser.add_argument("--inputs", type=int, default=256, help="training images, or sequences, that the latents see")
    parser.add_argument("--few", type=int, default=64, help="of these, inputs for the exact Gauss-Newton form")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make = images_task if arguments.network == "resnet20" else stories_task
    task = make(arguments.data, arguments.inputs)
    latents = gathered(task, arguments.few)
    columns: dict[str, list[float]] = {}
    kinds: list[str] = []
    start, comparing = time.perf_counter(), 0.0
    for layer in task.layers:
        for kind, make in METHODS.items():
            for level in LEVELS:
                pruned = copy.deepcopy(task.network)
                prune(pruned, make(level, layer), generator=torch.Generator().manual_seed(1))
                began = time.perf_counter()
                (row,) = compare(task.network, pruned, latents=latents, layers=layer).rows
                comparing += time.perf_counter() - began
                values = {name: getattr(row, name) for name in ("ap2", "relative_ap2")}
                values |= {column: quantity.value for column, quantity in row.divergences.items()}
                values["measured"] = task.damage(pruned)
                kinds.append(kind)
                for column, value in values.items():
                    columns.setdefault(column, []).append(value)
    seconds = time.perf_counter() - start
    print(f"{len(kinds)} cases in {seconds:.0f} s, of which {comparing:.0f} s for the comparisons\n")
    print_correlations({name: np.array(values) for name, values in columns.items()}, np.array(kinds))


def print_correlations(columns: dict[str, np.ndarray], kinds: np.ndarray) -> None:
    """Spearman's correlation with the measured difference."""
    measured = columns.pop("measured")
    print(f"{'Spearman with the damage':34} {'all':>7}", *(f"{kind:>9}" for kind in METHODS))
    for name, values in columns.items():
        assert len(values) == len(measured), f"{name} is missing in some cases"
        rows = [np.full(len(kinds), True), *(kinds == kind for kind in METHODS)]
        found = [float(np.asarray(spearmanr(values[row], measured[row]))[0]) for row in rows]
        print(f"{name:34} {found[0]:7.3f}", *(f"{value:9.3f}" for value in found[1:]))


if __name__ == "__main__":
    main()
