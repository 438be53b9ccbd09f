"""Accuracy after one-shot pruning, by who chose the sparsity of each layer: writes docs/allocation.md.

    python benchmarks/allocation.py NETWORK LEVEL … [--seeds 0 1 2] [--for PURPOSE …] [--untrained]
    python benchmarks/allocation.py --page     writes the page again from what was measured

Each choice is carried out in several ways: the lowest magnitudes go, or the weights that the others can make up for;
batch norm's statistics as they were, or re-estimated; with brief training, or without. PURPOSE is what is planned for:
magnitude, compensated, reestimated or compensated-reestimated. What is finished is kept in
docs/allocation/NETWORK.json.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from allocation_page import page
from allocation_subjects import NAMES, Subject, subject
from torch import Tensor, nn

from shrinkscope.analysis.plan.allocations import Allocations
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
TUNING, TUNED_ON = Training(epochs=1, batch_size=64, learning_rate=0.01), 1280
COMPENSATED, REESTIMATED = "compensated", "reestimated"
# What is planned beside the search; all allocations where nothing is named, which are then carried out in every way.
BESIDE = {
    "magnitude": (),
    COMPENSATED: ("uniform", "additive"),
    REESTIMATED: ("additive",),
    f"{COMPENSATED}-{REESTIMATED}": ("additive",),
}


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of images whose class is found."""
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(dim=1) for part in images.split(BATCH)])
    return 100 * float((found == labels).double().mean())


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

    @property
    def paths(self) -> dict[str, RemovalPath]:
        """The layers on the way to empty, the kept weights making up for what goes."""
        for name, weight in self.weights.items():
            if name not in self._paths:
                self._paths[name] = compensated_path(name, weight, self.precisions)
        return self._paths

    def choices(self, levels: Sequence[float], purpose: str, done: set[tuple[str, float]]) -> Iterator[dict[str, Any]]:
        """What each allocation chooses at each level, but for what is done."""
        paths = self.paths if purpose.startswith(COMPENSATED) else None
        halves = [part.split(BATCH) for part in self.inputs.chunk(2)]
        search, judge = (
            JointDamage(
                self.network, [*self.sizes], part, Reading(), paths=paths, reestimated=purpose.endswith(REESTIMATED)
            )
            for part in halves
        )
        allocations = Allocations(self.network, self.weights, search)
        others = BESIDE[purpose] or allocations.available
        for level in levels:
            # What does not search and looks at nothing random is the same for every seed.
            for allocation in ["joint", *others] if self.seed == 0 else ["joint"]:
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
                    "forward_equivalents": chooser.spent - before,
                    "counts": choice.counts,
                }

    def outcomes(self, counts: Counts, purpose: str, *, plain: bool = False) -> dict[str, float]:
        """Accuracy by the way in which these numbers of weights are removed; ``plain``: the lowest magnitudes alone."""
        found: dict[str, float] = {}
        if not purpose.startswith(COMPENSATED):
            mask = mask_of(self.network, {name: (count, self.sizes[name]) for name, count in counts.items()})
            prune(self.network, mask)
            self._judge(found, "magnitude", mask)
        if plain:
            return found
        mask = Mask({name: self.paths[name].kept(count) for name, count in counts.items()})
        write_weights(self.network, compensate(self.weights, mask, self.precisions))
        self._judge(found, "compensated", mask)
        return found

    def _judge(self, found: dict[str, float], way: str, mask: Mask) -> None:
        given, state = self.given, {key: value.clone() for key, value in self.network.state_dict().items()}
        found[way] = accuracy(self.network, *given.judge)
        if given.normalised:
            reestimate_statistics(self.network, self.inputs)
            found[f"{way}, re-estimated"] = accuracy(self.network, *given.judge)
            self.network.load_state_dict(state)
        if given.training is not None:
            draws = torch.Generator().manual_seed(self.seed)
            chosen = torch.randperm(len(given.training[1]), generator=draws)[:TUNED_ON]
            samples = given.training[0][chosen], given.training[1][chosen]
            train(self.network, samples, TUNING, draws, mask=mask)
            self.network.eval()
            found[f"{way}, trained"] = accuracy(self.network, *given.judge)
        self.network.load_state_dict(self._state)


def measure(
    name: str, levels: Sequence[float], seeds: Sequence[int], purposes: Sequence[str], *, trained: bool, plain: bool
) -> None:
    """Measure what is missing, row by row."""
    kept = RESULTS / f"{name}.json"
    given = subject(name, DATA)
    if not trained:
        given = given._replace(training=None)
    for seed in seeds:
        bench = Bench(given, seed, plain=plain)
        for purpose in purposes:
            rows = _read(kept)
            done = {(r["allocation"], r["level"]) for r in rows if (r["for"], r["seed"]) == (purpose, seed)}
            for choice in bench.choices(levels, purpose, done):
                started = time.perf_counter()
                found = bench.outcomes(choice["counts"], purpose, plain=plain)
                row = {"network": name, "for": purpose, "seed": seed, "dense": bench.dense, **choice}
                row |= {"images": len(given.judge[1]), "inputs": len(bench.inputs), "accuracy": found}
                rows.append(row)
                kept.parent.mkdir(exist_ok=True)
                write_text(kept, json.dumps(rows, indent=0) + "\n")
                print(_line(row), f"{time.perf_counter() - started:.0f} s", flush=True)


def _line(row: Mapping[str, Any]) -> str:
    told = ", ".join(f"{way} {value:.1f}" for way, value in row["accuracy"].items())
    return f"{row['level']} {row['for']} {row['allocation']} {row['seed']}: {told}; chosen in {row['seconds']:.0f} s,"


def _read(kept: Path) -> list[dict[str, Any]]:
    return json.loads(kept.read_text()) if kept.exists() else []


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", choices=NAMES)
    parser.add_argument("levels", nargs="*", type=float)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--for", nargs="+", dest="purposes", choices=BESIDE, default=["magnitude", "compensated"])
    parser.add_argument("--untrained", action="store_true", help="leave out the training after pruning")
    parser.add_argument("--plain", action="store_true", help="let no weights make up for others: slow in wide layers")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    asked = parser.parse_args()
    if not asked.page:
        told = {"trained": not asked.untrained, "plain": asked.plain}
        measure(asked.network, asked.levels, asked.seeds, asked.purposes, **told)
    write_text(PAGE, page([row for name in NAMES for row in _read(RESULTS / f"{name}.json")]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
