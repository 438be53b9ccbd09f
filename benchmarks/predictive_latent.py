"""How well the predictive latent ranks compressions of single layers, with real inputs, and with none at all.

    .venv/bin/python benchmarks/predictive_latent.py --data ../shared/data

240 cases: each of the 20 layers of a ResNet-20 for CIFAR-10 alone, pruned by lowest, random or highest magnitude at
20, 40, 60 and 80 %. Spearman correlation of each measure with the measured difference of the loss on 761 test images;
the 64 unlabelled images are others. Intervals are percentile bootstraps over layers, because cases of one are alike.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from predictive_bound import population
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.compression import MagnitudePruning, RandomPruning
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet
from shrinkscope.performance import PredictionTally, synthetic_inputs
from shrinkscope.weights import compressible

LEVELS, RESAMPLES = (0.2, 0.4, 0.6, 0.8), 1000


class Case(NamedTuple):
    """One layer compressed in one way: its weights, and what depends on the weights alone."""

    layer: str
    method: str
    weight: Tensor
    ap2: float
    relative: float


def cases(model: nn.Module) -> Iterator[Case]:
    weights = compressible(model)
    generator = torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        for level in LEVELS:
            for order in ("lowest", "random", "highest"):
                method = (
                    RandomPruning(level=level, layers=(name,))
                    if order == "random"
                    else MagnitudePruning(level=level, order=order, layers=(name,))
                )
                pruned = weight * method.mask(weights, generator)[name]
                square = float((pruned - weight).double().square().sum())
                yield Case(name, order, pruned, square, square / float(weight.double().square().sum()))


def stages(model: CifarResNet) -> dict[str, nn.Module]:
    """The network as a sequence; the outputs of each stage serve all cases that change a later one."""
    first = nn.Sequential(model.conv1, model.bn1, nn.ReLU())
    blocks = {
        f"{stage}.{index}": block
        for stage in ("layer1", "layer2", "layer3")
        for index, block in enumerate(model.get_submodule(stage).children())
    }
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.linear)
    return {"conv1": first, **blocks, "linear": last}


def outputs(model: CifarResNet, images: Tensor, every: list[Case]) -> Iterator[Tensor]:
    """Logits of the network, then of every case, on all images."""
    parts = stages(model)
    before = [images]
    for part in parts.values():
        before.append(part(before[-1]))
    yield before[-1]
    for case in every:
        start = next(index for index, name in enumerate(parts) if case.layer.startswith(f"{name}."))
        parameter = model.get_parameter(case.layer)
        kept, parameter.data = parameter.data, case.weight
        hidden = before[start]
        for part in list(parts.values())[start:]:
            hidden = part(hidden)
        parameter.data = kept
        yield hidden


def divergences(logits: list[Tensor], part: slice) -> np.ndarray:
    values = []
    for after in logits[1:]:
        tally = PredictionTally()
        tally.add(logits[0][part], after[part])
        values.append(float(tally.predictions().kl.mean()))
    return np.array(values)


def interval(measure: np.ndarray, loss: np.ndarray, layers: np.ndarray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(layers == name) for name in np.unique(layers)]
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[index] for index in generator.integers(len(members), size=len(members))])
        drawn.append(spearmanr(measure[rows], loss[rows])[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=128, help="synthetic inputs")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    start = time.perf_counter()
    model, images, labels = population("resnet20", options.data)
    assert isinstance(model, CifarResNet)
    model.eval()
    with np.load(options.data / "cifar10_lossless_4566.npz") as archive:
        pixels = torch.from_numpy(archive["x_train"][:64]).float() / 255
    mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    unlabelled = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    fitted = {
        name: synthetic_inputs(model, (3, 32, 32), options.count, torch.Generator().manual_seed(0), steps=steps)
        for name, steps in (("smooth noise", 0), ("matched noise", options.steps))
    }
    matched = fitted["matched noise"]
    made = time.perf_counter() - start
    print(
        f"Batch norm mismatch of {options.count} synthetic inputs after {options.steps} steps: {matched.mismatch:.3g} "
        f"nats a channel, {matched.mismatch_before:.3g} before ({made:.0f} s)",
        flush=True,
    )
    every = list(cases(model))
    sets = {"test": images, "real": unlabelled, **{name: found.inputs for name, found in fitted.items()}}
    with torch.no_grad():
        logits = list(outputs(model, torch.cat(list(sets.values())), every))
    ends = np.cumsum([0, *(len(part) for part in sets.values())])
    places = {name: slice(a, b) for name, a, b in zip(sets, ends[:-1], ends[1:], strict=True)}
    losses = [float(cross_entropy(scores[places["test"]].double(), labels)) for scores in logits]
    loss = np.array(losses[1:]) - losses[0]
    layers = np.array([case.layer for case in every])
    measures = {
        "predictive KL, 64 real unlabelled images": divergences(logits, places["real"]),
        f"predictive KL, {options.count} matched noise, no data": divergences(logits, places["matched noise"]),
        "predictive KL, 64 of them": divergences(logits, slice(places["matched noise"].start, ends[-2] + 64)),
        f"predictive KL, {options.count} smooth noise, no data": divergences(logits, places["smooth noise"]),
        "relative AP2": np.array([case.relative for case in every]),
        "AP2": np.array([case.ap2 for case in every]),
        "parameter count": np.array([case.weight.numel() for case in every], dtype=np.float64),
        "random": np.random.default_rng(1).random(len(every)),
    }
    print(f"\n{len(every)} cases, {len(images)} test images, loss of the dense network {losses[0]:.4f}\n")
    print(
        f"{'Spearman with the measured loss difference':46}{'all':>8}  {'95 % interval':18}{'lowest':>8}{'highest':>9}"
    )
    methods = np.array([case.method for case in every])
    for name, values in measures.items():
        low, high = interval(values, loss, layers)
        inner = [spearmanr(values[methods == kind], loss[methods == kind])[0] for kind in ("lowest", "highest")]
        found = spearmanr(values, loss)[0]
        print(f"{name:46}{found:8.3f}  {f'{low:.3f} to {high:.3f}':18}{inner[0]:8.3f}{inner[1]:9.3f}")
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
