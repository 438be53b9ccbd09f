"""Accuracy after one-shot pruning, by who chose the sparsity of each layer: writes docs/allocation.md.

    python benchmarks/allocation.py NETWORK LEVEL … [--seeds 0 1 2] [--for PURPOSE …] [--untrained] [--again]
    python benchmarks/allocation.py --page     writes the page again from what was measured

Each choice is carried out in several ways: the lowest magnitudes go, or the weights that the others can make up for;
batch norm's statistics as they were, or re-estimated; with brief training, or without. PURPOSE is what is planned for:
magnitude, compensated, reestimated or compensated-reestimated; or magnitude "without data", from inputs that are made
from batch norm's statistics. What is finished is kept in docs/allocation/NETWORK.json; --again carries out what was
chosen earlier in the ways that are missing there.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from allocation_page import page
from allocation_rows import packed, percent, read_rows
from allocation_subjects import NETWORKS, Subject, subject
from torch import Tensor, nn

from shrinkscope.analysis.plan.allocations import NAMES, Allocations
from shrinkscope.analysis.plan.batches import Seen, batches_of
from shrinkscope.analysis.plan.chooser import Chooser
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.pruning import mask_of
from shrinkscope.compression import Mask, compensate, compensated_path, prune, write_weights
from shrinkscope.compression.removal_path import RemovalPath
from shrinkscope.curvature import input_moments
from shrinkscope.experiments.config import Training
from shrinkscope.experiments.train import train
from shrinkscope.files import write_text
from shrinkscope.latent import Precisions
from shrinkscope.performance import Reading, reestimate_statistics
from shrinkscope.weights import compressible

DATA, RESULTS, PAGE = Path("../shared/data"), Path("docs/allocation"), Path("docs/allocation.md")
BUDGET, BATCH = 40_000, 64
TUNED_ON, RATE = 1280, 0.01  # images of the brief training, some of them again where there are fewer; its step
MAGNITUDE, COMPENSATED, REESTIMATED, WITHOUT = "magnitude", "compensated", "reestimated", "without data"
# What is planned beside the search; all allocations where nothing is named, which are then carried out in every way.
BESIDE = {
    MAGNITUDE: (),
    COMPENSATED: ("additive",),
    REESTIMATED: ("additive",),
    f"{COMPENSATED}-{REESTIMATED}": ("additive",),
    WITHOUT: ("additive",),
}


def right(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Whether the class of each image is found."""
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(dim=1) for part in images.split(BATCH)])
    return found == labels


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of images whose class is found."""
    return percent(right(network, images, labels))


class Bench:
    """One network and one draw of unlabelled inputs, on which everything is chosen and moments are gathered."""

    def __init__(self, given: Subject, seed: int, *, plain: bool = False) -> None:
        self.given, self.seed, self.network = given, seed, given.network
        self.inputs = given.unlabelled(seed)
        self._state = {key: value.clone() for key, value in self.network.state_dict().items()}
        self._precisions: Precisions | None = None
        # The layers whose inputs are known, so that every way of carrying a choice out is there.
        known = {key: value for key, value in compressible(self.network).items() if plain or key in self.precisions}
        self.weights = {key: value.detach().clone() for key, value in known.items()}
        self.sizes = {key: value.numel() for key, value in self.weights.items()}
        self.dense = accuracy(self.network, *given.judge)
        self._paths: dict[str, RemovalPath] = {}

    @property
    def precisions(self) -> Precisions:
        """Input moments of all layers."""
        if self._precisions is None:
            self._precisions = input_moments(self.network, self.inputs).precisions()
        return self._precisions

    @cached_property
    def made(self) -> Seen:
        """Inputs made from the network alone."""
        return batches_of(self.network, None, tuple(self.inputs.shape[1:]), self.seed, BATCH)

    @property
    def paths(self) -> dict[str, RemovalPath]:
        """The layers on the way to empty, the kept weights making up for what goes."""
        for name, weight in self.weights.items():
            if name not in self._paths:
                self._paths[name] = compensated_path(name, weight, self.precisions)
        return self._paths

    def choices(
        self, levels: Sequence[float], purpose: str, done: set[tuple[str, float]], asked: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """What each allocation chooses at each level, but for what is done, or not among those asked for."""
        paths = self.paths if purpose.startswith(COMPENSATED) else None
        seen = self.made if purpose == WITHOUT else Seen([self.inputs], "given")
        inputs = torch.cat(seen.batches)
        # Few inputs in small batches, so that moves are given up early; but statistics of small batches are noise.
        size = BATCH if purpose.endswith(REESTIMATED) else min(BATCH, max(1, len(inputs) // 8))
        halves = [part.split(size) for part in inputs.chunk(2)]
        search, judge = (
            JointDamage(
                self.network, [*self.sizes], part, Reading(), paths=paths, reestimated=purpose.endswith(REESTIMATED)
            )
            for part in halves
        )
        allocations = Allocations(self.network, self.weights, search)
        wanted = [name for name in ("joint", *(BESIDE[purpose] or allocations.available)) if name in (asked or NAMES)]
        for level in levels:
            for allocation in wanted:
                if (allocation, level) in done:
                    continue
                before, started = search.spent + judge.spent + allocations.spent, time.perf_counter()
                chooser = Chooser(allocations, search, judge, allocation, BUDGET, self.seed)  # type: ignore[arg-type]
                choice = chooser.choose(round(level * sum(self.sizes.values())))
                yield {
                    "allocation": allocation,
                    "level": level,
                    "start": choice.start,
                    "seconds": time.perf_counter() - started,
                    "forward_equivalents": chooser.spent - before + seen.spent,
                    "counts": choice.counts,
                    "inputs": len(inputs),
                }

    def ways(self, purpose: str, *, plain: bool = False) -> list[str]:
        """In which ways a choice is carried out; ``plain``: the lowest magnitudes alone."""
        if purpose == WITHOUT:
            return [MAGNITUDE]
        of_weights = [COMPENSATED] if purpose.startswith(COMPENSATED) else [MAGNITUDE, COMPENSATED]
        after = [""]
        after += [", re-estimated"] if self.given.normalised else []
        after += [", trained"] if self.given.training is not None else []
        return [base + then for base in of_weights if base == MAGNITUDE or not plain for then in after]

    def outcomes(self, counts: Counts, ways: Sequence[str]) -> dict[str, Tensor]:
        """Which images are right by the way in which these numbers of weights are removed."""
        found: dict[str, Tensor] = {}
        for base, asked in groupby(ways, key=lambda way: way.partition(",")[0]):
            if base == MAGNITUDE:
                mask = mask_of(self.network, {name: (count, self.sizes[name]) for name, count in counts.items()})
                prune(self.network, mask)
            else:
                mask = Mask({name: self.paths[name].kept(count) for name, count in counts.items()})
                write_weights(self.network, compensate(self.weights, mask, self.precisions))
            state = {key: value.clone() for key, value in self.network.state_dict().items()}
            for way in asked:
                self._finish(way.removeprefix(base), mask)
                found[way] = right(self.network, *self.given.judge)
                self.network.load_state_dict(state)
            self.network.load_state_dict(self._state)
        return found

    def _finish(self, then: str, mask: Mask) -> None:
        """What is done after the weights went."""
        if then == ", re-estimated":
            reestimate_statistics(self.network, self.inputs)
        if then == ", trained":
            assert self.given.training is not None
            images, labels = self.given.training
            draws = torch.Generator().manual_seed(self.seed)
            chosen = torch.randperm(len(labels), generator=draws)[:TUNED_ON]
            tuning = Training(epochs=TUNED_ON // len(chosen), batch_size=BATCH, learning_rate=RATE)
            train(self.network, (images[chosen], labels[chosen]), tuning, draws, mask=mask)
            self.network.eval()


class Records:
    """The rows of one network, kept whenever one is added or completed."""

    def __init__(self, name: str) -> None:
        self.path = RESULTS / f"{name}.json"
        self.rows = read_rows(self.path)

    def of(self, seed: int, purpose: str, levels: Sequence[float]) -> list[dict[str, Any]]:
        """Those of one seed, purpose and these levels."""
        return [r for r in self.rows if (r["seed"], r["for"]) == (seed, purpose) and r["level"] in levels]

    def complete(self, row: dict[str, Any], found: Mapping[str, Tensor]) -> None:
        """Put outcomes into a row and keep all."""
        row["accuracy"] = row.get("accuracy", {}) | {way: percent(bits) for way, bits in found.items()}
        row["right"] = row.get("right", {}) | {way: packed(bits) for way, bits in found.items()}
        if not any(row is other for other in self.rows):
            self.rows.append(row)
        self.path.parent.mkdir(exist_ok=True)
        write_text(self.path, json.dumps(self.rows, indent=0) + "\n")


def measure(asked: argparse.Namespace) -> None:
    """Measure what is missing, row by row."""
    records, given = Records(asked.network), subject(asked.network, DATA)
    if asked.untrained:
        given = given._replace(training=None)
    for seed in asked.seeds:
        bench = Bench(given, seed, plain=asked.plain)
        for purpose in asked.purposes:
            ways = bench.ways(purpose, plain=asked.plain)
            rows = records.of(seed, purpose, asked.levels)
            for row in rows if asked.again else ():
                left = [way for way in ways if way not in row.get("right", {})]
                _carry_out(bench, records, row, left)
            done = {(row["allocation"], row["level"]) for row in rows}
            for choice in bench.choices(asked.levels, purpose, done, asked.allocations):
                row = {"network": asked.network, "for": purpose, "seed": seed, "dense": bench.dense, **choice}
                row["images"] = len(given.judge[1])
                _carry_out(bench, records, row, ways)


def _carry_out(bench: Bench, records: Records, row: dict[str, Any], ways: Sequence[str]) -> None:
    started = time.perf_counter()
    found = bench.outcomes(row["counts"], ways)
    if found:
        records.complete(row, found)
        print(_line(row), f"{time.perf_counter() - started:.0f} s", flush=True)


def _line(row: Mapping[str, Any]) -> str:
    told = ", ".join(f"{way} {value:.1f}" for way, value in row["accuracy"].items())
    return f"{row['level']} {row['for']} {row['allocation']} {row['seed']}: {told}; chosen in {row['seconds']:.0f} s,"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", choices=NETWORKS)
    parser.add_argument("levels", nargs="*", type=float)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--for", nargs="+", dest="purposes", choices=BESIDE, default=["magnitude", "compensated"])
    parser.add_argument("--allocations", nargs="+", choices=NAMES, default=[], help="all of them by default")
    parser.add_argument("--untrained", action="store_true", help="leave out the training after pruning")
    parser.add_argument("--plain", action="store_true", help="let no weights make up for others: slow in wide layers")
    parser.add_argument("--again", action="store_true", help="carry out earlier choices in the ways that are missing")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    asked = parser.parse_args()
    if not asked.page:
        measure(asked)
    write_text(PAGE, page([row for name in NETWORKS for row in read_rows(RESULTS / f"{name}.json")]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
