"""Which measure ranks compressions as the measured loss does: every rung of the ladder beside trivial baselines.

    .venv/bin/python benchmarks/leaderboard.py --data ../shared/data --network lenet300 --network resnet20

Three families of cases: (i) one layer at a time, pruned, quantised or of low rank; (ii) random configurations of the
whole network; (iii) random sparsities of the layers, by lowest magnitude, of one *total* sparsity. Each case is
measured on the network's test images. Writes docs/leaderboard.md and, beside it, the raw records as CSV; networks that
are not asked for keep the records they have.

The ceiling is the largest correlation that anything can reach with a loss difference measured on so few images: the
root of its reliability, which is the rank correlation of two halves of the images, stepped up to the whole
(Spearman-Brown).
"""

# pandas leaves open whether a selection is a table or a column, SciPy whether a root comes with its history.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from predictive_bound import population
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import kendalltau, rankdata, spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.analysis import compare
from shrinkscope.compression import (
    CompressionMethod,
    LowRank,
    MagnitudePruning,
    RandomPruning,
    UniformQuantisation,
    compress,
)
from shrinkscope.curvature import fisher_diagonal, input_moments, kronecker_fisher
from shrinkscope.experiments.zoo import load_data
from shrinkscope.latent import InformedGaussian
from shrinkscope.performance import PredictionTally, synthetic_inputs
from shrinkscope.weights import compressible

DOCS = Path(__file__).parents[1] / "docs"
RECORDS, PAGE = DOCS / "leaderboard.csv", DOCS / "leaderboard.md"
LEVELS, BITS, RANKS = (0.2, 0.4, 0.6, 0.8), (8, 6, 4, 3, 2), (0.75, 0.5, 0.25)
CONFIGURATIONS, TOTALS, SPREAD = 100, (0.5, 0.65), 1.0
UNLABELLED, INFORMED, SYNTHETIC = 64, 256, 128
RESAMPLES, NEAR = 1000, 0.05

Settings = dict[str, CompressionMethod]


class Case(NamedTuple):
    """One compressed network: its family, and a method for each layer that is compressed."""

    family: str
    settings: Settings


def one_layer(names: list[str]) -> Iterator[Case]:
    """Family (i)."""
    for name in names:
        only = (name,)
        for level in LEVELS:
            yield Case("one layer", {name: MagnitudePruning(level=level, layers=only)})
            yield Case("one layer", {name: MagnitudePruning(level=level, order="highest", layers=only)})
            yield Case("one layer", {name: RandomPruning(level=level, layers=only)})
        for bits in BITS:
            yield Case("one layer", {name: UniformQuantisation(bits=bits, layers=only)})
        for rank in RANKS:
            yield Case("one layer", {name: LowRank(ratio=rank, layers=only)})


def mixed(names: list[str], draws: np.random.Generator) -> Iterator[Case]:
    """Family (ii): in each layer a method at a level, both drawn; mild ones, or every network would be lost."""
    choices: list[Callable[[str], CompressionMethod]] = [
        lambda name: MagnitudePruning(level=float(draws.uniform(0.1, 0.7)), layers=(name,)),
        lambda name: RandomPruning(level=float(draws.uniform(0.02, 0.15)), layers=(name,)),
        lambda name: UniformQuantisation(bits=int(draws.integers(4, 9)), layers=(name,)),
        lambda name: LowRank(ratio=float(draws.uniform(0.5, 0.95)), layers=(name,)),
    ]
    for _ in range(CONFIGURATIONS):
        yield Case("mixed", {name: choices[int(draws.integers(len(choices)))](name) for name in names})


def equal_total(sizes: dict[str, int], total: float, draws: np.random.Generator) -> Iterator[Case]:
    """Family (iii): logits of the sparsities are drawn, then shifted together until the total is right."""
    shares = np.array(list(sizes.values())) / sum(sizes.values())
    for _ in range(CONFIGURATIONS):
        drawn = draws.normal(scale=SPREAD, size=len(sizes))
        shift = brentq(lambda s, drawn=drawn: float(shares @ expit(drawn + s)) - total, -30, 30)
        levels = expit(drawn + shift)
        settings = {
            name: MagnitudePruning(level=float(level), layers=(name,))
            for name, level in zip(sizes, levels, strict=True)
        }
        yield Case(f"total {total:.0%}", settings)


def scores(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(512)])


def divergence(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Mean predictive KL and total variation."""
    tally = PredictionTally()
    tally.add(before, after)
    found = tally.predictions()
    return float(found.kl.mean()), float(found.total_variation.mean())


def unlabelled_images(name: str, folder: Path) -> Tensor:
    """Images that are not among those the cases are measured on."""
    if name == "lenet300":
        return load_data(str(folder / "mnist_t10k"))[0][-INFORMED:]
    with np.load(folder / "cifar10_lossless_4566.npz") as archive:
        pixels = torch.from_numpy(archive["x_train"][:INFORMED]).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


def latents(network: nn.Module, inputs: Tensor) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    moments = input_moments(network, inputs).precisions()
    return [
        "gaussian",
        "student_t",
        InformedGaussian(precisions=moments),
        InformedGaussian(precisions=moments, relative=True),
        InformedGaussian(precisions=fisher_diagonal(network, inputs, generator=generator).precisions()),
        InformedGaussian(precisions=kronecker_fisher(network, inputs, generator=generator).precisions()),
    ]


def measure(name: str, folder: Path) -> pd.DataFrame:
    """Every case of one network: measured differences, and what each rung says."""
    network, images, labels = population(name, folder)
    network.eval()
    inputs = unlabelled_images(name, folder)
    if name == "lenet300":  # the last images are the unlabelled ones
        images, labels = images[:-INFORMED], labels[:-INFORMED]
    noise = None
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        noise = synthetic_inputs(network, tuple(images.shape[1:]), SYNTHETIC, torch.Generator().manual_seed(0)).inputs
    sets = {"test": images, "real": inputs[:UNLABELLED]} | ({} if noise is None else {"none": noise})
    dense = {key: scores(network, part) for key, part in sets.items()}
    weights, believed = compressible(network), latents(network, inputs)
    sizes, names = {key: weight.numel() for key, weight in weights.items()}, list(weights)
    draws = np.random.default_rng(0)
    cases = [*one_layer(names), *mixed(names, draws)]
    cases += [case for total in TOTALS for case in equal_total(sizes, total, draws)]
    halves = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1)).chunk(2)
    base = cross_entropy(dense["test"].double(), labels, reduction="none")
    rows, started = [], time.perf_counter()
    for number, case in enumerate(cases):
        model = copy.deepcopy(network)
        for method in case.settings.values():
            compress(model, method, generator=torch.Generator().manual_seed(number))
        after = {key: scores(model, part) for key, part in sets.items()}
        lost = cross_entropy(after["test"].double(), labels, reduction="none") - base
        hits = [(part["test"].argmax(1) == labels).double().mean().item() for part in (dense, after)]
        rows.append(
            {"network": name, "family": case.family, "delta_loss": float(lost.mean()), "drop": hits[0] - hits[1]}
            | {f"half_{i}": float(lost[half].mean()) for i, half in enumerate(halves)}
            | rungs(network, model, case, sizes, believed, draws)
            | {f"predictive_{key}": divergence(dense[key], after[key])[0] for key in sets if key != "test"}
            | {"predictive_tv_real": divergence(dense["real"], after["real"])[1]}
        )
        if number % 50 == 49:
            print(f"{name}: {number + 1} of {len(cases)} cases, {time.perf_counter() - started:.0f} s", flush=True)
    return pd.DataFrame(rows)


def rungs(
    network: nn.Module, model: nn.Module, case: Case, sizes: dict[str, int], believed: list[Any], draws: Any
) -> dict[str, float]:
    """What the weights say, with and without knowledge of the network, and what says nothing."""
    found = compare(network, model, latents=believed, layers=list(case.settings))
    relative = sum(row.relative_ap2 or 0.0 for row in found.rows)
    values = {column: quantity.value for column, quantity in found.total.divergences.items()}
    weight = np.array([sizes[name] for name in case.settings], dtype=np.float64)
    depth = np.array([list(sizes).index(name) for name in case.settings], dtype=np.float64)
    changed = np.array([row.relative_ap2 or 0.0 for row in found.rows])
    return values | {
        "ap2": found.total.ap2,
        "relative_ap2": relative,
        "parameters": float(weight.sum()),
        "mean_sparsity": float(found.total.sparsity or 0.0) * float(weight.sum()) / sum(sizes.values()),
        "depth": -float((depth * changed).sum() / changed.sum()) if changed.sum() else 0.0,
        "random": float(draws.random()),
    }


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman and Kendall of every rung in every family, with percentile bootstrap intervals over cases."""
    known = {"network", "family", "delta_loss", "drop", "half_0", "half_1"}
    rows = []
    for (network, family), group in table.groupby(["network", "family"], sort=False):  # type: ignore[misc]
        between = float(spearmanr(group["half_0"], group["half_1"])[0])
        ceiling = float(np.sqrt(max(0.0, 2 * between / (1 + between))))
        for part, chosen in (
            ("all", group),
            ("near", group[group["drop"] < NEAR]),
            ("lost", group[group["drop"] >= NEAR]),
        ):
            for rung in [column for column in table.columns if column not in known and not group[column].isna().any()]:
                rows.append(
                    {
                        "network": network,
                        "family": family,
                        "part": part,
                        "rung": rung,
                        "cases": len(chosen),
                        "ceiling": ceiling,
                    }
                    | interval(chosen[rung].to_numpy(), chosen["delta_loss"].to_numpy())
                )
    return pd.DataFrame(rows)


def interval(values: np.ndarray, lost: np.ndarray) -> dict[str, float]:
    if len(values) < 10 or np.ptp(values) == 0:
        return {"spearman": np.nan, "low": np.nan, "high": np.nan, "kendall": np.nan}
    draws = np.random.default_rng(0)
    rows = draws.integers(len(values), size=(RESAMPLES, len(values)))
    ranks = [rankdata(measure[rows], axis=1) - (len(values) + 1) / 2 for measure in (values, lost)]
    with np.errstate(invalid="ignore"):  # a resample in which all values are equal has no correlation
        drawn = (ranks[0] * ranks[1]).sum(1) / np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    found = float(spearmanr(values, lost)[0])
    return {"spearman": found, "low": float(low), "high": float(high), "kendall": float(kendalltau(values, lost)[0])}


def page(found: pd.DataFrame, records: pd.DataFrame) -> str:
    """docs/leaderboard.md."""
    text = HEAD
    for network in records["network"].unique():
        text += f"\n## {network}\n"
        for family in records.loc[records["network"] == network, "family"].unique():
            group = found[(found["network"] == network) & (found["family"] == family)]
            whole = group[group["part"] == "all"].dropna(subset=["spearman"]).sort_values("spearman", ascending=False)
            first = whole.iloc[0]
            text += f"\n**{family}**, {first['cases']} cases, ceiling {first['ceiling']:.3f}\n\n"
            text += "| measure | Spearman | 95 % interval | Kendall | near | lost |\n|---|---:|---|---:|---:|---:|\n"
            for _, row in whole.iterrows():
                parts = [
                    group[(group["part"] == part) & (group["rung"] == row["rung"])].iloc[0] for part in ("near", "lost")
                ]
                inner = " | ".join("" if np.isnan(p["spearman"]) else f"{p['spearman']:.2f}" for p in parts)
                text += f"| {row['rung']} | {row['spearman']:.3f} | {row['low']:.3f} to {row['high']:.3f} "
                text += f"| {row['kendall']:.3f} | {inner} |\n"
    return text


HEAD = f"""# Leaderboard

<!-- Made by benchmarks/leaderboard.py; do not edit. -->

Which measure ranks compressed networks as their measured loss does? Rank correlations with the difference of the
cross-entropy on test images, every rung beside trivial baselines, best first: a rung below a baseline loses to it. Raw
records: [leaderboard.csv](leaderboard.csv).

*one layer*: lowest, highest and random magnitude at 20 to 80 %, 8 to 2 bits, and 75, 50 and 25 % of the rank, in each
layer alone. *mixed*: {CONFIGURATIONS} random configurations of all layers. *total 50 %, total 65 %*: {CONFIGURATIONS}
random allocations each of one total sparsity over the layers, by lowest magnitude: the question that allocation asks.
Values of layers are added up. *near* are the cases that lost less than {100 * NEAR:.0f} points of accuracy, *lost* the
others. *ceiling*: the most that anything can reach with so few images, the root of the split-half reliability
(Spearman–Brown).

`predictive_real`: mean KL of the predictions on {UNLABELLED} unlabelled images, `predictive_tv_real` their total
variation; `predictive_none`: mean KL on {SYNTHETIC} synthetic inputs, no data at all. `ap3_input`, `ap3_fisher`,
`ap3_kfac`: Σ⁻¹ from {INFORMED} unlabelled images, one drawn label each. The others know the weights alone. For LeNet
the unlabelled images are the last {INFORMED} of the test set, which the cases are not measured on.

Not here yet: ResNet-32 and -56, EfficientNet-Lite0, the digits network and a transformer; the 10,000 JPEGs; batch-norm
re-estimation and fine-tuning after compression; peers.
"""


def main() -> None:
    """Measure the networks that are asked for, and write the page from all records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--network", action="append", choices=("lenet300", "resnet20", "resnet32", "resnet56"))
    options = parser.parse_args()
    for name in options.network or ["lenet300", "resnet20"]:
        table = measure(name, options.data)
        kept = [pd.read_csv(RECORDS)] if RECORDS.exists() else []
        old = [other[other["network"] != name] for other in kept]
        records = pd.concat([*old, table], ignore_index=True)
        records.round(6).to_csv(RECORDS, index=False)
        found = correlations(records)
        PAGE.write_text(page(found, records), encoding="utf-8")
        print(found[(found["network"] == name) & (found["part"] == "all")].to_string(index=False))


if __name__ == "__main__":
    main()
