"""A whole grid of last-layer fine-tunings on cached features, against training and measuring whole networks.

python benchmarks/heads.py [--data FOLDER] [--features FOLDER] [--images N] [--samples N] [--repeats N]

Ours: ResNet-20 with its published weights on CIFAR10 as JPEG (50,000 images to train on, 10,000 held out), 3 methods ×
4 levels × 3 trials = 36 fine-tunings of 20 epochs, everything a study records after each of 21 epochs, both ε, the
bound of Theorem 3.6 and the files of the networks included; the features exist, their extraction is timed apart.
Alternative: the same records by the straightforward route, each cell alone through the whole network: one epoch of
training and the records of one epoch, timed on the first SAMPLES images, decoded and in memory, and extrapolated to all
images, epochs and cells in proportion, the comparison of weights by cells and epochs alone. Before and after ours in
turn; medians of processor time, one thread, which other work on the machine disturbs less than the clock. The folder
holds cifar10_jpeg_60000.npz and weights/cifar10_resnet20_akamaster.npz.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.analysis import compare
from shrinkscope.compression import MagnitudePruning, prune
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Arrays, Part
from shrinkscope.experiments.grid import dense_cells, pruned_cells
from shrinkscope.experiments.heads import carry_out_together, extract
from shrinkscope.experiments.measure import MEASURED
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.stage import Stage
from shrinkscope.experiments.study import Bench
from shrinkscope.experiments.train import train
from shrinkscope.performance import evaluate

EPOCHS = 20
MEASURED_TIMES = EPOCHS + 1  # once before fine-tuning
BATCH = 128


class Cost(NamedTuple):
    """Seconds of processor and clock."""

    processor: float
    clock: float


def cost_of(work: Callable[[], object]) -> Cost:
    """What some work costs."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - processor, time.perf_counter() - clock)


def study_of(data: Path, images: int | None) -> Study:
    """The grid."""
    return Study(
        name="cached features",
        network="resnet20",
        weights=str(data / "weights" / "cifar10_resnet20_akamaster.npz"),
        data=Arrays(root=str(data), train="cifar10_jpeg_60000.npz", train_samples=images, test_samples=images),
        finetuning=Training(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.01, weight_decay=1e-4),
        path="features",
    )


def extraction(bench: Bench, folder: Path) -> Cost:
    """The features of all images; almost nothing if they are there."""
    model = bench.starting(1)

    def tell(found: Stage) -> None:
        print(f"\r  {found.done:,} of {found.total:,}, {found.remaining:.0f} s left  ", end="", flush=True)

    def work() -> None:
        for part in (bench.data.train, bench.data.test):
            extract(model, part, folder, progress=tell)

    return cost_of(work)


def grid(study: Study, features: Path) -> tuple[Cost, int]:
    """All cells together; their cost and the number of their records."""
    records: list[Record] = []

    def keep(_: Cell, found: list[Record]) -> None:
        records.extend(found)

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(study, Path(folder) / "networks" / "run")
        cells = [*dense_cells(study), *pruned_cells(study)]
        cost = cost_of(lambda: carry_out_together(bench, cells, keep, features=features))
    return cost, len(records)


class Alone:
    """One cell by the straightforward route, on some of the images."""

    def __init__(self, bench: Bench, samples: int) -> None:
        self._study = bench.study
        images = bench.data.train
        assert isinstance(images, Part)
        order = torch.arange(min(samples, len(images)))
        self.samples: tuple[Tensor, Tensor] = next(iter(images.rows(order, len(order))))
        self._dense = bench.starting(1)

    def _network(self) -> tuple[nn.Module, tuple[str, ...]]:
        model = copy.deepcopy(self._dense)
        return model, tuple(prune(model, MagnitudePruning(level=0.5, scope="last")))

    def seconds(self, train_images: int, test_images: int) -> dict[str, float]:
        """Processor seconds of the whole grid, extrapolated."""
        model, only = self._network()
        once = msgspec.structs.replace(self._study.finetuning, epochs=1)
        order = torch.Generator().manual_seed(0)
        training = cost_of(lambda: train(model, self.samples, once, order, only=only)).processor
        judging = cost_of(lambda: evaluate(model, self.samples)).processor
        weights = cost_of(lambda: compare(self._dense, model, latents=self._study.latents, layers=MEASURED)).processor
        cells, count = len(pruned_cells(self._study)), len(self.samples[1])
        return {
            "training": cells * EPOCHS * training * train_images / count,
            "performance": cells * MEASURED_TIMES * judging * (train_images + test_images) / count,
            "weights": cells * MEASURED_TIMES * weights,
        }


def limits(images: int, width: int, classes: int) -> tuple[float, float]:
    """Seconds that reading the features and multiplying them take at the rates of this machine, one thread."""
    matrix = torch.randn(1 << 20, width)
    read = min(cost_of(matrix.sum).processor for _ in range(5))
    rows, heads = torch.randn(BATCH, width), torch.randn(width, 12 * classes)
    repeats = 2000
    product = min(cost_of(lambda: [rows @ heads for _ in range(repeats)]).processor for _ in range(3)) / repeats
    steps = -(-images // BATCH)
    # Each trial reads the features once an epoch; a step has the product of the logits and that of the gradient.
    return 3 * EPOCHS * images / (1 << 20) * read, 3 * EPOCHS * steps * 2 * product


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--features", type=Path, help="where features are kept; a new folder by default")
    parser.add_argument("--images", type=int, help="at most this many of either part; all by default")
    parser.add_argument("--samples", type=int, default=1024, help="images that the alternative is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = study_of(options.data.resolve(), options.images)
    with tempfile.TemporaryDirectory() as folder:
        features = options.features or Path(folder)
        bench = Bench(study, Path(folder) / "networks" / "run")
        train_images, test_images = len(bench.data.train), len(bench.data.test)
        print(f"{train_images:,} images to train on, {test_images:,} held out; {len(pruned_cells(study))} fine-tunings")
        found = extraction(bench, features)
        print(f"\nfeatures: {found.processor:.0f} s of processor, {found.clock:.0f} s of clock")
        alone = Alone(bench, options.samples)
        others, ours = [alone.seconds(train_images, test_images)], []
        for _ in range(options.repeats):
            cost, records = grid(study, features)
            ours.append(cost)
            others.append(alone.seconds(train_images, test_images))
            print(f"ours: {cost.processor:.1f} s of processor, {cost.clock:.1f} s of clock, {records:,} records")
            print(
                f"alternative: {', '.join(f'{name} {value:,.0f} s' for name, value in others[-1].items())}", flush=True
            )
    mine = statistics.median(cost.processor for cost in ours)
    theirs = statistics.median(sum(other.values()) for other in others)
    read, multiply = limits(train_images, 64, 10)
    print(f"ours {mine:.1f} s, alternative {theirs:,.0f} s ({theirs / 3600:.1f} h): {theirs / mine:.0f} times")
    print(f"alternative timed on {len(alone.samples[1]):,} of {train_images:,} images and one of {EPOCHS} epochs")
    print(f"limits of training: features read {read:.2f} s, products {multiply:.2f} s")


if __name__ == "__main__":
    main()
