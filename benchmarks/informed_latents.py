"""Latents that know the inputs against latents that do not: which of them ranks what pruning one layer costs.

    .venv/bin/python benchmarks/informed_latents.py --data ../shared/data        about ten minutes on one core

ResNet-20 of CIFAR-10. Each of its 20 weights alone is pruned by three methods (lowest, random, highest magnitudes) at
four levels (20, 40, 60, 80 %): 240 cases. Each is measured by the difference of the cross-entropy on 761 test images in
their original form. The latents see unlabelled training images, and no label.

Printed: seconds to gather each Σ⁻¹, and Spearman's correlation of each column with the measured difference, over all
cases and within each method. A column that is missing in a case would be an error, not a zero.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.analysis import compare
from shrinkscope.analysis.explain import runnable
from shrinkscope.compression import MagnitudePruning, RandomPruning, prune
from shrinkscope.curvature import fisher_diagonal, gauss_newton_precisions, input_moments, kronecker_fisher
from shrinkscope.experiments.zoo import load_network
from shrinkscope.latent import InformedGaussian, InformedStudentT
from shrinkscope.weights import compressible

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


def gathered(network: nn.Module, inputs: Tensor, few: int) -> list[Any]:
    """Every latent, with the seconds that its Σ⁻¹ took."""

    def timed(what: str, gather: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = gather()
        print(f"{what:34} {time.perf_counter() - start:7.1f} s", flush=True)
        return found

    generator = torch.Generator().manual_seed(0)
    moments = timed(f"input moments, {len(inputs)} images", lambda: input_moments(network, inputs))
    drawn = timed("Fisher, 1 label each", lambda: fisher_diagonal(network, inputs, generator=generator).precisions())
    kfac = timed("K-FAC, 1 label each", lambda: kronecker_fisher(network, inputs, generator=generator).precisions())
    exact = timed(f"Gauss-Newton, {few} images", lambda: gauss_newton_precisions(network, inputs[:few]))
    whole, diagonal = moments.precisions(), moments.precisions(diagonal=True)
    return [
        "gaussian",
        InformedGaussian(precisions=whole),
        InformedGaussian(precisions=whole, relative=True),
        InformedStudentT(precisions=whole),
        InformedGaussian(precisions=diagonal),
        InformedGaussian(precisions=drawn),
        InformedGaussian(precisions=kfac),
        InformedGaussian(precisions=exact),
    ]


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats."""
    with torch.no_grad():
        return float(cross_entropy(torch.cat([network(part) for part in images.split(256)]).to(torch.float64), labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=256, help="training images that the latents see")
    parser.add_argument("--few", type=int, default=64, help="of these, images for the exact Gauss-Newton form")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = runnable(arguments.data / "weights/cifar10_resnet20_akamaster.npz", load_network("resnet20")).eval()
    images, labels, inputs = load_images(arguments.data, arguments.inputs)
    latents = gathered(network, inputs, arguments.few)
    before = loss(network, images, labels)
    columns: dict[str, list[float]] = {}
    kinds: list[str] = []
    start, comparing = time.perf_counter(), 0.0
    for layer in compressible(network):
        for kind, make in METHODS.items():
            for level in LEVELS:
                pruned = copy.deepcopy(network)
                prune(pruned, make(level, layer), generator=torch.Generator().manual_seed(1))
                began = time.perf_counter()
                (row,) = compare(network, pruned, latents=latents, layers=layer).rows
                comparing += time.perf_counter() - began
                values = {name: getattr(row, name) for name in ("ap2", "relative_ap2")}
                values |= {column: quantity.value for column, quantity in row.divergences.items()}
                values["measured"] = loss(pruned, images, labels) - before
                kinds.append(kind)
                for column, value in values.items():
                    columns.setdefault(column, []).append(value)
    seconds = time.perf_counter() - start
    print(f"{len(kinds)} cases in {seconds:.0f} s, of which {comparing:.0f} s for the comparisons\n")
    print_correlations({name: np.array(values) for name, values in columns.items()}, np.array(kinds))


def print_correlations(columns: dict[str, np.ndarray], kinds: np.ndarray) -> None:
    """Spearman's correlation with the measured difference."""
    measured = columns.pop("measured")
    print(f"{'Spearman with the loss difference':34} {'all':>7}", *(f"{kind:>9}" for kind in METHODS))
    for name, values in columns.items():
        assert len(values) == len(measured), f"{name} is missing in some cases"
        rows = [np.full(len(kinds), True), *(kinds == kind for kind in METHODS)]
        found = [float(np.asarray(spearmanr(values[row], measured[row]))[0]) for row in rows]
        print(f"{name:34} {found[0]:7.3f}", *(f"{value:9.3f}" for value in found[1:]))


if __name__ == "__main__":
    main()
