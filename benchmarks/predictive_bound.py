"""The predictive bound on networks that it was not made for: how often it fails, and how far it is from the measured.

    .venv/bin/python benchmarks/predictive_bound.py --data ../shared/data

One hundred pairs: LeNet-300-100 on MNIST's 10,000 test images and ResNet-20, -32 and -56 on 761 test images of
CIFAR-10, each compressed in 25 ways without retraining (lowest, random, highest magnitudes at 20, 50 and 80 %,
quantised to 8 … 2 bits; in the last layer alone and in all layers). The images are the population: the differences over
all of them are known, and samples are drawn from them with replacement.
1. How often a bound from a sample lies below what it bounds. Of the disagreement exactly, by the binomial law; of the
   total variation over resamples.
2. The bound over the measured difference, from samples of several sizes and from the population itself.
3. For the pairs that differ in the last layer only: the paper's Lemma 3.1, as published, corrected and sharpened (also
   for equal covariances), with N(ω, σ²I) as latent, σ = 1 and the σ that makes the published bound smallest; on the
   loss, of which it speaks.
"""

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.analysis.explain import runnable
from shrinkscope.compression import CompressionMethod, MagnitudePruning, RandomPruning, UniformQuantisation, compress
from shrinkscope.curvature import LastLayerHessian, largest_eigenvalue
from shrinkscope.experiments.zoo import load_data, load_network
from shrinkscope.performance import Predictions, PredictionTally
from shrinkscope.theory import Bound, lemma_3_1, predictive
from shrinkscope.theory.confidence import bernstein_upper, betting_upper, binomial_upper, largest_log_wealth

CONFIDENCE, RESAMPLES, SIZES = 0.95, 1000, (100, 500, 2000)
SEARCHED = 51  # resamples whose bounds are searched for, for their median
LEVELS, BITS = (0.2, 0.5, 0.8), {"all": (8, 6, 4, 3, 2), "last": (4, 2)}
CLASSIFIERS = {"lenet300": "fc3", "resnet20": "linear", "resnet32": "linear", "resnet56": "linear"}


class Pair(NamedTuple):
    """A network and its compression on the whole population."""

    name: str
    scope: str
    found: Predictions
    accuracy: float
    probability: float
    loss: float
    lemma: dict[str, Bound]


class Sampled(NamedTuple):
    """One pair, one size of sample: rates of failure, and median bounds."""

    below_disagreement: float
    below_accuracy: float
    below_variation: float
    below_probability: float
    accuracy: float
    betting: float
    bernstein: float


def population(name: str, folder: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """A trained network and the images and labels that are its population."""
    if name == "lenet300":
        images, labels = load_data(str(folder / "mnist_t10k"))
        return runnable(folder / "weights" / "lenet300_rjoe_dense.npz", load_network(name)), images, labels
    with np.load(folder / "cifar10_lossless_4566.npz") as archive:
        pixels, labels = torch.from_numpy(archive["x_test"]), archive["y_test_all"][: len(archive["x_test"])]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    images = (pixels.float() / 255 - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    weights = folder / "weights" / f"cifar10_{name}_akamaster.npz"
    return runnable(weights, load_network(name)), images, torch.from_numpy(labels.astype(np.int64))


def methods(last: str, scope: str) -> Iterator[CompressionMethod]:
    """The ways in which a network is compressed."""
    layers = (f"{last}.weight",) if scope == "last" else None
    for level in LEVELS:
        yield MagnitudePruning(level=level, layers=layers)
        yield RandomPruning(level=level, layers=layers)
        yield MagnitudePruning(level=level, order="highest", layers=layers)
    for bits in BITS[scope]:
        yield UniformQuantisation(bits=bits, layers=layers)


def logits(network: nn.Module, images: Tensor) -> Tensor:
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(256)]).double()


def features_of(network: nn.Module, last: str, images: Tensor) -> Tensor:
    """What the last layer sees of each image, in the type of the network."""
    seen: list[Tensor] = []
    handle = network.get_submodule(last).register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    logits(network, images)
    handle.remove()
    return torch.cat(seen)


def lemma(dense: Tensor, compressed: Tensor, features: Tensor, outputs: Tensor, labels: Tensor) -> dict[str, Bound]:
    """Lemma 3.1 for two weights of the last layer, in all its forms."""
    delta = dense.double() - compressed.double()
    hessian = LastLayerHessian("last", features, outputs.softmax(dim=1), labels, bias=False)
    bend = largest_eigenvalue(hessian, resamples=0).eigenvalue.value
    everywhere = hessian.global_bound().value
    slope = float(hessian.gradient()[(delta != 0).reshape(-1)].norm())
    square, dim = float(delta.square().sum()), delta.numel()
    known: dict[str, Any] = {"gradient_norm": slope, "curvature": everywhere, "target_mass": 1.0}
    known |= {"over_segment": True, "same_elsewhere": True}
    bounds = {}
    # With ε = ‖Δ‖²/2σ² and C = 2dσ² the published bound is λ d ‖Δ‖²/(4 s(1 − s)), smallest at s = ½: σ = ‖Δ‖.
    for label, variance in (("σ = 1", 1.0), ("best σ", square)):
        epsilon = square / (2 * variance)
        law = {"epsilon": epsilon, "trace_p": dim * variance, "trace_q": dim * variance}
        bounds[f"published, {label}"] = lemma_3_1.as_published(
            **law, largest_eigenvalue=bend, target_mass=1.0, gradient_norm=slope
        )
        bounds[f"corrected, {label}"] = lemma_3_1.corrected(**law, **known)
        bounds[f"sharpened, {label}"] = lemma_3_1.sharpened(**law, **known)
        bounds[f"equal covariance, {label}"] = lemma_3_1.sharpened_equal_covariance(
            epsilon=epsilon, inverse_min=1 / variance, **known
        )
    return bounds


def pairs(name: str, folder: Path) -> Iterator[Pair]:
    """All pairs of one network."""
    dense, images, labels = population(name, folder)
    last, before = CLASSIFIERS[name], logits(dense, images)
    features = features_of(dense, last, images)
    for scope in ("last", "all"):
        for method in methods(last, scope):
            network = copy.deepcopy(dense)
            compress(network, method, generator=torch.Generator().manual_seed(0))
            # Where only the last layer changed, what it sees did not.
            after = logits(network.get_submodule(last), features) if scope == "last" else logits(network, images)
            head, new_head = (model.state_dict()[f"{last}.weight"] for model in (dense, network))
            tally = PredictionTally()
            tally.add(before, after)
            rows = torch.arange(len(labels))
            right = [outputs.softmax(dim=1)[rows, labels] for outputs in (before, after)]
            correct = [(outputs.argmax(dim=1) == labels).double() for outputs in (before, after)]
            yield Pair(
                name,
                scope,
                tally.predictions(),
                abs(float((correct[1] - correct[0]).mean())),
                abs(float((right[1] - right[0]).mean())),
                abs(float(cross_entropy(after, labels) - cross_entropy(before, labels))),
                lemma(head, new_head, features.double(), after, labels) if scope == "last" else {},
            )


def sampled(pair: Pair, size: int, generator: np.random.Generator) -> Sampled:
    """What samples of one size say about a pair."""
    share, tv = float(pair.found.disagrees.double().mean()), pair.found.total_variation.numpy()
    counts = np.arange(size + 1)
    bounds, chances = binomial_upper(counts, size, CONFIDENCE), binom.pmf(counts, size, share)
    drawn = tv[generator.integers(len(tv), size=(RESAMPLES, size))]
    # A candidate lies above the bound exactly if it is rejected: one look at the wealth instead of a search.
    needed = -math.log(1 - CONFIDENCE)
    rejected = [largest_log_wealth(drawn, mean, 1 - CONFIDENCE) >= needed for mean in (tv.mean(), pair.probability)]
    return Sampled(
        float(chances[bounds < share].sum()),
        float(chances[bounds < pair.accuracy].sum()),
        float(rejected[0].mean()),
        float(rejected[1].mean()),
        float(bounds[int(binom.median(size, share))]),
        float(np.median(betting_upper(drawn[:SEARCHED], CONFIDENCE))),
        float(np.median(bernstein_upper(drawn[:SEARCHED], CONFIDENCE))),
    )


def quartiles(values: Sequence[float]) -> str:
    """Median and quartiles; orders that keep infinity in its place instead of averaging with it."""
    low, middle, high = np.quantile(np.array(values), [0.25, 0.5, 0.75], method="nearest")
    return f"{middle:9.4g}  ({low:.3g} to {high:.3g})"


def print_rates(results: dict[int, list[Sampled]]) -> None:
    """Table 1."""
    print(f"\n1. Rate at which a bound at {CONFIDENCE:.0%} lies below what it bounds: mean over pairs (worst pair)\n")
    error = math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / RESAMPLES)
    names = ("P(argmax differs)", "accuracy difference", "E TV", "probability of the right label")
    print(f"{'':34}" + "".join(f"{f'n = {size:,}':>20}" for size in results))
    for index, name in enumerate(names):
        rates = [[result[index] for result in of_size] for of_size in results.values()]
        cells = "".join(f"{f'{np.mean(rate):.2%} ({max(rate):.2%})':>20}" for rate in rates)
        print(f"{name:34}{cells}")
    print(f"\nThe first two exactly; the others over {RESAMPLES:,} resamples, standard error at 5 %: {error:.2%}.")
    worst = max(result[2] for of_size in results.values() for result in of_size)
    number = sum(map(len, results.values()))
    print(f"Of {number} rates of E TV the largest is {worst:.2%}.")


def print_tightness(found: Sequence[Pair], results: dict[int, list[Sampled]]) -> None:
    """Table 2."""
    for scope in ("last", "all"):
        chosen = [index for index, pair in enumerate(found) if pair.scope == scope]
        few = sum(found[index].accuracy == 0 for index in chosen)
        print(f"\n2. Bound over measured difference, {scope} layer(s), {len(chosen)} pairs: median (quartiles)")
        print(f"   (of {few} pairs the accuracies are equal: there the ratio is infinite, or 1 if the bound is 0)\n")
        print(f"{'from':16}{'accuracy':34}{'probability of the right label':34}{'the same, Bernstein':34}")
        for size, of_size in results.items():
            compared = (("accuracy", "accuracy"), ("betting", "probability"), ("bernstein", "probability"))
            ratios = [
                [_ratio(getattr(of_size[i], bound), getattr(found[i], measured)) for i in chosen]
                for bound, measured in compared
            ]
            print(f"{f'n = {size:,}':16}" + "".join(f"{quartiles(ratio):34}" for ratio in ratios))
        exact = [found[i] for i in chosen]
        statements = (
            [predictive.accuracy(_mean(p.found.disagrees)).tightness(p.accuracy) for p in exact],
            [predictive.measure(_mean(p.found.total_variation)).tightness(p.probability) for p in exact],
        )
        print(f"{'the population':16}" + "".join(f"{quartiles(ratio):34}" for ratio in statements))
        chain: dict[str, Callable[[Pair], Bound]] = {
            "E min(1, √(KL/2))": lambda p: predictive.measure_by_pinsker(p.found.kl.numpy()),
            "√(½ E KL)": lambda p: predictive.measure_by_jensen(_mean(p.found.kl)),
        }
        for name, statement in chain.items():
            ratios = [statement(p).tightness(p.probability) for p in exact]
            print(f"  by {name:45}{quartiles(ratios):34}")


def print_lemma(found: Sequence[Pair]) -> None:
    """Table 3."""
    chosen = [pair for pair in found if pair.lemma]
    print(f"\n3. Lemma 3.1 on the loss, {len(chosen)} pairs that differ in the last layer only\n")
    print(f"{'form':26}{'finite':>8}{'below measured':>16}   bound over measured, median (quartiles)")
    for form in chosen[0].lemma:
        bounds = [pair.lemma[form] for pair in chosen]
        ratios = [bound.tightness(pair.loss) for bound, pair in zip(bounds, chosen, strict=True)]
        failing = sum(bound.violated(pair.loss, tolerance=1e-9) for bound, pair in zip(bounds, chosen, strict=True))
        print(f"{form:26}{sum(math.isfinite(b.value) for b in bounds):>8}{failing:>16}   {quartiles(ratios)}")
    print(f"\nloss differences measured: {quartiles([pair.loss for pair in chosen]).strip()} nats")


def _ratio(bound: float, measured: float) -> float:
    return bound / measured if measured else math.inf


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def main() -> None:
    """Make the pairs, draw the samples and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    folder = parser.parse_args().data
    start, found = time.perf_counter(), []
    for name in CLASSIFIERS:
        found += pairs(name, folder)
        print(f"{name}: {len(found)} pairs after {time.perf_counter() - start:.0f} s", flush=True)
    generator = np.random.default_rng(0)
    results = {size: [sampled(pair, size, generator) for pair in found] for size in SIZES}
    print_rates(results)
    print_tightness(found, results)
    print_lemma(found)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
