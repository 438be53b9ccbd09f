"""Curvature of ResNet-20 on real CIFAR-10 images: what the last-layer shortcut saves, and how noisy λ_max is.

    .venv/bin/python benchmarks/curvature.py DATA                      about ten minutes on one core
    .venv/bin/python benchmarks/curvature.py DATA --whole 128 512 4096  the whole network at more sizes: hours

DATA is a folder with cifar10_jpeg_60000.npz (JPEG images in the official order) and
weights/cifar10_resnet20_akamaster.npz. Images are the first 40,960 of the training set.

1. One product with the last layer's Hessian on 4,096 images: by curvlinops through the network, by curvlinops on the
   layer alone with its inputs cached, and by the closed form; their ratio, and the largest difference.
2. λ_max on ten disjoint draws of 128, 512 and 4,096 images, for the last layer and for the whole network: least, mean,
   largest, relative standard deviation; and what one draw alone states as its standard error and sampling bias.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from shrinkscope.analysis.explain import runnable
from shrinkscope.curvature import (
    Curvature,
    Eigenvalue,
    LastLayerHessian,
    hessian,
    largest_eigenvalue,
    last_layer_hessian,
)
from shrinkscope.experiments.zoo import load_network

DRAWS, SIZES, PRODUCTS = 10, (128, 512, 4096), 4096
IMAGES = DRAWS * max(SIZES)
REPEATS = 5


def load_images(folder: Path) -> tuple[Tensor, Tensor]:
    """Standardised training images and their classes."""
    with np.load(folder / "cifar10_jpeg_60000.npz") as archive:
        jpeg, offset, labels = archive["train_jpeg"], archive["train_offset"], archive["train_y"][:IMAGES]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]]))) for i in range(IMAGES)])
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (torch.from_numpy(pixels).to(torch.float32) / 255 - mean) / deviation
    return images.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels.astype(np.int64))


def seconds(product: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, after one to warm up."""
    product()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def print_products(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """Table 1: the cost of a product."""
    start = time.perf_counter()
    shortcut = last_layer_hessian(network, data)
    setup = time.perf_counter() - start
    layer = network.get_submodule(shortcut.name).to(torch.float64)
    cached = hessian(layer, (shortcut.features[:, :-1], data[1]), batch_size=PRODUCTS)
    network.get_submodule(shortcut.name).to(torch.float32)
    through = hessian(network, data, layers=shortcut.name)
    vector = torch.randn(shortcut.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = shortcut.product(vector)
    print(
        f"1. A product with the Hessian of the last layer ({shortcut.dimension} weights), {shortcut.samples:,} images\n"
    )
    print(f"{'':44} {'ms':>10} {'ratio':>9} {'difference':>11}")
    own = seconds(lambda: shortcut.product(vector), 20 * REPEATS)
    for name, curvature, repeats in (
        ("curvlinops through the network, float32", through, 1),
        ("curvlinops on the layer, cached, float64", cached, REPEATS),
    ):
        took = seconds(lambda chosen=curvature: chosen.product(vector), repeats)
        difference = float((curvature.product(vector) - expected).norm() / expected.norm())
        print(f"{name:44} {1000 * took:10.2f} {took / own:8,.0f}x {difference:11.1e}")
    print(f"{'closed form, float64':44} {1000 * own:10.2f} {1:8}x {0:11}")
    print(f"\nSetting the closed form up took {setup:.1f} s: one forward pass.\n")


def print_draws(what: str, draws: list[Curvature], **options: float) -> None:
    """One line of table 2."""
    alone = largest_eigenvalue(draws[0], **options)  # type: ignore[arg-type]
    found: list[Eigenvalue] = [alone, *(largest_eigenvalue(d, resamples=0, **options) for d in draws[1:])]  # type: ignore[arg-type]
    values = [one.eigenvalue.value for one in found]
    mean, error = statistics.fmean(values), alone.eigenvalue.standard_error or 0.0
    residual = max(one.residual / one.eigenvalue.value for one in found)
    print(f"{what:14} {alone.samples:8,} {len(draws):6} {min(values):9.4g} {mean:9.4g} {max(values):9.4g}", end="")
    print(f" {100 * statistics.stdev(values) / mean:7.1f} % {100 * error / values[0]:8.1f} %", end="")
    print(f" {100 * (alone.sampling_bias or 0) / values[0]:8.1f} % {residual:9.1e}", flush=True)


def print_spread(network: nn.Module, data: tuple[Tensor, Tensor], whole: list[int]) -> None:
    """Table 2: the spread of λ_max over draws of the data."""
    print(f"2. λ_max in nats per weight² on {DRAWS} disjoint draws\n")
    print(f"{'':14} {'images':>8} {'draws':>6} {'least':>9} {'mean':>9} {'largest':>9} {'spread':>9}", end="")
    print(f" {'stated':>10} {'bias':>10} {'residual':>9}")
    layer = last_layer_hessian(network, data)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    for size in SIZES:
        rows = [order[i * size : (i + 1) * size] for i in range(DRAWS)]
        print_draws("last layer", [chosen(layer, part) for part in rows])
    print(f"{'  global bound':14} {IMAGES:8,} {'':6} {layer.global_bound().value:9.4g}")
    for size in whole:
        rows = [order[i * size : (i + 1) * size] for i in range(DRAWS)]
        batch = min(size, 128)
        draws: list[Curvature] = [hessian(network, (data[0][part], data[1][part]), batch_size=batch) for part in rows]
        print_draws("whole network", draws, tolerance=1e-3, basis=5)
    print(
        "\nSpread: standard deviation over draws. Stated: standard error that the first draw gives itself, from eight"
    )
    print("parts of it. Bias: how far it expects to lie too high. Both in percent of the first draw's value.")


def chosen(layer: LastLayerHessian, rows: Tensor) -> Curvature:
    """The last layer's Hessian on some of the images."""
    return LastLayerHessian(
        layer.name, layer.features[rows], layer.probabilities[rows], layer.targets[rows], bias=layer.bias
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--whole", type=int, nargs="*", default=[128], help="draws of the whole network at these sizes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = runnable(arguments.data / "weights/cifar10_resnet20_akamaster.npz", load_network("resnet20"))
    data = load_images(arguments.data)
    print_products(network, (data[0][:PRODUCTS], data[1][:PRODUCTS]))
    print_spread(network, data, arguments.whole)


if __name__ == "__main__":
    main()
