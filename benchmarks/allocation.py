"""Accuracy after one-shot pruning, by who chose the sparsity of each layer: writes docs/allocation.md.

    python benchmarks/allocation.py NETWORK LEVEL …    what lowest magnitudes lose
    python benchmarks/allocation.py NETWORK LEVEL … --compensate    searched for with kept weights that make up for it
    python benchmarks/allocation.py NETWORK --within    for the rows that are there: the kept weights making up for what
                                                       goes, and batch norm re-estimated

What is finished is kept, and the page is written from all of it.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from allocation_page import page
from predictive_bound import population
from torch import Tensor, nn

from shrinkscope.analysis.plan.allocations import Allocations
from shrinkscope.analysis.plan.chooser import Chooser
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.pruning import mask_of
from shrinkscope.compression import compensated_path, compensated_to_counts, prune, write_weights
from shrinkscope.curvature import input_moments
from shrinkscope.experiments.zoo import load_data
from shrinkscope.files import write_text
from shrinkscope.performance import Reading, reestimate_statistics
from shrinkscope.weights import compressible

DATA = Path("../shared/data")
RESULTS = Path("docs/allocation.json")
PAGE = Path("docs/allocation.md")
INPUTS, BUDGET, BATCH = 512, 40_000, 64
SEEDS = (0,)
COMPENSATED = ", for compensated weights"
MEAN, DEVIATION = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def subject(name: str) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A network, the images and labels that judge, and the images that may be looked at without labels."""
    network, images, labels = population(name, DATA)
    network.eval()
    if name == "lenet300":
        images, labels = load_data(str(DATA / "mnist_t10k"))
        return network, images[:-INPUTS], labels[:-INPUTS], images[-INPUTS:]
    with np.load(DATA / "cifar10_lossless_4566.npz") as archive:
        pool = (torch.from_numpy(archive["x_train"]).float() / 255 - MEAN) / DEVIATION
    return network, images, labels, pool[:INPUTS]


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of images whose class is found."""
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(dim=1) for part in images.split(64)])
    return 100 * float((found == labels).double().mean())


def main(name: str, levels: list[float], compensate: bool) -> None:
    """Measure what is missing, row by row, and write the page."""
    network, images, labels, inputs = subject(name)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    dense = accuracy(network, images, labels)
    layers = compressible(network)
    sizes = {layer: weight.numel() for layer, weight in layers.items()}
    paths = precisions = None
    if compensate:
        precisions = input_moments(network, inputs).precisions()
        paths = {layer: compensated_path(layer, weight.clone(), precisions) for layer, weight in layers.items()}
    search, judge = (
        JointDamage(network, list(layers), part.split(BATCH), Reading(), paths=paths) for part in inputs.chunk(2)
    )
    allocations = Allocations(network, {key: value.clone() for key, value in layers.items()}, search)
    for level in levels:
        total = round(level * sum(sizes.values()))
        others = ("uniform", "additive") if compensate else allocations.available
        for allocation, seed in [*((other, 0) for other in others), *(("joint", s) for s in SEEDS)]:
            label = f"{allocation}{COMPENSATED}" if compensate else allocation
            rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
            if any((r["network"], r["level"], r["allocation"], r["seed"]) == (name, level, label, seed) for r in rows):
                continue
            before, started = search.spent + judge.spent + allocations.spent, time.perf_counter()
            chooser = Chooser(allocations, search, judge, allocation, BUDGET, seed)  # type: ignore[arg-type]
            choice = chooser.choose(total)
            row = {"network": name, "level": level, "allocation": label, "seed": seed, "start": choice.start}
            row |= {"seconds": time.perf_counter() - started, "forward_equivalents": chooser.spent - before}
            if precisions is not None:
                write_weights(network, compensated_to_counts(layers, choice.counts, precisions)[1])
            else:
                prune(network, mask_of(network, {key: (count, sizes[key]) for key, count in choice.counts.items()}))
            row |= {"accuracy": accuracy(network, images, labels), "dense": dense, "images": len(labels)}
            network.load_state_dict(weights)
            row |= {"inputs": len(inputs), "counts": choice.counts}
            write_text(RESULTS, json.dumps([*rows, row], indent=0) + "\n")
            write_text(PAGE, page([*rows, row]))
            print(level, label, seed, f"{row['accuracy']:.1f}", f"{row['seconds']:.0f} s", flush=True)


def within(name: str) -> None:
    """For each row of a network, the same numbers of weights removed in other ways."""
    network, images, labels, inputs = subject(name)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    sizes = {layer: weight.numel() for layer, weight in compressible(network).items()}
    precisions = input_moments(network, inputs).precisions()
    rows = json.loads(RESULTS.read_text())
    for row in rows:
        if row["network"] != name or "within" in row or row["allocation"].endswith(COMPENSATED):
            continue
        counts, started = row["counts"], time.perf_counter()
        found: dict[str, float] = {}
        prune(network, mask_of(network, {key: (count, sizes[key]) for key, count in counts.items()}))
        reestimate_statistics(network, inputs)
        found["re-estimated"] = accuracy(network, images, labels)
        network.load_state_dict(weights)
        _, moved = compensated_to_counts(compressible(network), counts, precisions)
        write_weights(network, moved)
        found["compensated"] = accuracy(network, images, labels)
        reestimate_statistics(network, inputs)
        found["compensated, re-estimated"] = accuracy(network, images, labels)
        network.load_state_dict(weights)
        row |= {"within": found}
        write_text(RESULTS, json.dumps(rows, indent=0) + "\n")
        write_text(PAGE, page(rows))
        told = ", ".join(f"{way} {value:.1f}" for way, value in found.items())
        print(row["level"], row["allocation"], row["seed"], told, f"{time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--within" in sys.argv:
        within(sys.argv[1])
    else:
        compensated = "--compensate" in sys.argv
        main(sys.argv[1], [float(level) for level in sys.argv[2:] if level != "--compensate"], compensated)
