"""The scan against the loop that users write, and with several candidates in a pass against one by one.

python benchmarks/scan.py [--data FOLDER] [--repeats N] [--only loop|together|language]    two minutes a repeat

Loop: ResNet-20, 20 layers × 3 methods × 4 levels = 240 candidates, 64 inputs, one thread: copy, compress and run the
whole network for each. Together: four networks, lowest and quantise at all levels, with and without several candidates
in a pass. Language: the layers of stories260K by sensitivity, from text that it samples itself. All ways run in turn in
the same process; the median of their processor times counts, which other work on the machine disturbs least. The folder
holds cifar10_lossless_4566.npz, weights/cifar10_resnet20_akamaster.npz, weights/lenet300_rjoe_dense.npz, mnist_t10k and
weights/stories260K_llama2c_v0.bin.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from shrinkscope import LayerSelection, MagnitudePruning, RandomPruning, compress, scan
from shrinkscope.analysis import Scan
from shrinkscope.analysis.explain import runnable
from shrinkscope.experiments.zoo import load_inputs, load_network
from shrinkscope.experiments.zoo.llama import read_llama2c
from shrinkscope.performance import predictions, synthetic_tokens
from shrinkscope.weights import compressible, open_weights

# The package's attribute scan is the function, which hides its modules from an import statement.
passes: Any = import_module("shrinkscope.analysis.scan.passes")
Result = TypeVar("Result")

LEVELS = (0.3, 0.5, 0.7, 0.9)
METHODS = ("lowest", "highest", "random")
INPUTS = 64
TRANSPOSITIONS = 5  # of the matrices in this copy of stories260K; see read_llama2c
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


def digits(folder: Path) -> tuple[nn.Module, Tensor]:
    """The digits network, new, on 64 held-out digits."""
    torch.manual_seed(0)
    return load_network("digits").eval(), load_inputs("digits")[:INPUTS]


def lenet(folder: Path) -> tuple[nn.Module, Tensor]:
    """LeNet-300-100 with its weights, on 64 images of MNIST."""
    model = runnable(folder / "weights" / "lenet300_rjoe_dense.npz", load_network("lenet300")).eval()
    return model, load_inputs(str(folder / "mnist_t10k"))[:INPUTS]


def stories(folder: Path, length: int = 16, count: int = 8) -> tuple[nn.Module, Tensor]:
    """The small language model on text that it samples itself."""
    model = read_llama2c(folder / "weights" / "stories260K_llama2c_v0.bin", transpositions=TRANSPOSITIONS)
    return model, synthetic_tokens(model, length, count, torch.Generator().manual_seed(0), start=1).inputs


def together(folder: Path, repeats: int) -> None:
    """Time four networks with several candidates in a pass, and one by one."""
    networks = {
        "digits": lambda: digits(folder),
        "LeNet-300": lambda: lenet(folder),
        "ResNet-20": lambda: (network(folder), images(folder)),
        "stories260K": lambda: stories(folder),
    }
    print(f"{'':14}{'alone':>9}{'together':>10}{'ratio':>8}{'in a pass':>12}{'run':>6}{'largest difference':>20}")
    for name, make in networks.items():
        model, inputs = make()
        limits = {"alone": 0, "together": passes.TOGETHER}
        seconds: dict[str, list[float]] = {way: [] for way in limits}
        found: dict[str, Scan] = {}
        for _ in range(repeats):
            for way, limit in limits.items():
                with limited(limit):
                    took, found[way] = timed(
                        lambda model=model, inputs=inputs: scan(
                            model, inputs=inputs, methods=("lowest", "quantise"), latents=(), early_stop=False
                        )
                    )
                seconds[way].append(took)
        alone, joined = (statistics.median(seconds[way]) for way in limits)
        pairs = zip(found["alone"].rows, found["together"].rows, strict=True)
        kls = [(a.predictive_kl, b.predictive_kl) for a, b in pairs]
        worst = max(abs(a.value - b.value) for a, b in kls if a is not None and b is not None)
        cost = found["together"].cost
        print(
            f"{name:14}{alone:9.2f}{joined:10.2f}{alone / joined:8.2f}{cost.batched:12}{cost.forwards:6}{worst:20.1e}"
        )


@contextmanager
def limited(limit: int) -> Iterator[None]:
    """Let values of all candidates in a pass take at most so many bytes; 0 lets each go alone."""
    kept = passes.TOGETHER
    passes.TOGETHER = limit
    try:
        yield
    finally:
        passes.TOGETHER = kept


def language(folder: Path) -> None:
    """The layers of stories260K, the most sensitive first, as a table of Markdown."""
    model, inputs = stories(folder, length=32, count=16)
    levels = {"lowest": (0.5, 0.9), "quantise": (8, 4)}
    found = scan(model, inputs=inputs, methods=list(levels), levels=levels, latents=(), early_stop=False)
    table = found.to_dataframe().pivot(index="layer", columns=["method", "level"], values="predictive_kl")
    ranking = found.ranking()["layer"]
    print(found.summary())
    print("| layer |" + "".join(f" {method} {level:g} |" for method, level in table.columns))
    for layer in [*ranking[:4], *ranking[-3:]]:
        print(f"| {layer} |" + "".join(f" {value:.2g} |" for value in table.loc[layer]))


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("loop", "together", "language"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only in (None, "loop"):
        against_loop(arguments.data, arguments.repeats)
    if arguments.only in (None, "together"):
        together(arguments.data, arguments.repeats)
    if arguments.only in (None, "language"):
        language(arguments.data)


def against_loop(folder: Path, repeats: int) -> None:
    """Time the ways of scanning ResNet-20 in turn."""
    model, inputs = network(folder), images(folder)
    options = {"inputs": inputs, "methods": METHODS, "levels": LEVELS, "latents": ()}
    ways: dict[str, Callable[[], object]] = {
        "copy, compress, run both": lambda: loop(model, inputs),
        "scan, nothing held": lambda: scan(model, **options, early_stop=False, memory=0),
        "scan, every level": lambda: scan(model, **options, early_stop=False),
        "scan": lambda: scan(model, **options),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, object] = {}
    for _ in range(repeats):
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
