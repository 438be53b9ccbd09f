"""From what was measured to one row a case: the measured differences, and what each rung says."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from leaderboard_cases import Case
from leaderboard_measure import DISTANCES
from leaderboard_networks import UNLABELLED
from leaderboard_store import measured
from leaderboard_sums import INPUTS, scanned, sums, table_of
from torch import Tensor

QUARTERS = 4
TARGETS = {
    "losses": "just compressed",
    "refit": "after batch norm re-estimation",
    "tuned": "after brief training",
    "more": "on JPEG images",
}
SHORT = {"kl": "kl", "tv": "tv", "jensen_shannon": "js", "tempered": "soft"}
SETS = ("real", "unsure", "fresh", "none")
# What the rungs of each kind may look at.
KINDS = {
    "unlabelled": [f"{short}_{name}{size}" for short in SHORT.values() for name in SETS[:3] for size in ("", "_all")]
    + ["kl_refit"],
    "no data": [f"{short}_none{size}" for short in SHORT.values() for size in ("", "_all")]
    + ["sum_of_kl_none", "sum_of_roots_none"],
    "sum over layers": ["sum_of_kl", "sum_of_roots"],
    "covariance": ["ap3_input", "ap3_relative_input", "ap3_fisher", "ap3_kfac"],
    "weights": ["ap3_gaussian", "ap3_student_t", "ap2", "relative_ap2", "relative_rows", "relative_spectral", "turned"],
    "trivial": ["parameters", "mean_sparsity", "depth", "random"],
    "combination": ["combined_weights", "combined_none", "combined_64"],
    "all judged images, unlabelled": ["kl_judge", "soft_judge"],
}
KIND = {rung: kind for kind, rungs in KINDS.items() for rung in rungs}
# The norms of the change are what the issue counts among the trivial baselines, too.
BASELINES = [*KINDS["trivial"], "ap2", "relative_ap2"]


def rows_of(folder: Path, cases: list[Case]) -> pd.DataFrame:
    """The records of one network.

    Args:
        folder: Where they are kept.
        cases: The network's cases, for their settings.
    """
    settings = {case.number: case.settings for case in cases}
    tables = {name: table_of(folder, name)["table"] for name in ("real", "none") if scanned(folder)}
    later = {
        stage: {record["number"]: record[stage] for record in measured(folder, stage)} for stage in ("tuned", "more")
    }
    refits = measured(folder, "refit") + measured(folder, "refit_total")
    refitted = {record["number"]: record["kl_refit"] for record in refits}
    later["refit"] = {record["number"]: record["refit"] for record in refits if "refit" in record}
    draws, rows = np.random.default_rng(0), []
    for record in sorted(measured(folder, "cases"), key=lambda record: record["number"]):
        number = record["number"]
        row: dict[str, Any] = {"network": folder.name, "family": record["family"], "case": number}
        row |= {"drop": record["drop"]} | measured_columns("losses", record["losses"])
        for target in ("refit", "tuned", "more"):
            values = record.get(target, later[target].get(number))
            row |= {} if values is None else measured_columns(target, values)
        seen = predicted(record["distances"])
        row |= seen | record["weights"] | ({"kl_refit": refitted[number]} if number in refitted else {})
        for name, end in (("real", ""), ("none", "_none")):
            # The sum over one layer is what that layer does alone.
            alone = {f"sum_of_kl{end}": seen[f"kl_{name}"], f"sum_of_roots{end}": seen[f"kl_{name}"]}
            if len(settings[number]) == 1:
                row |= alone
            elif name in tables:
                row |= sums(tables[name], settings[number], end)
        rows.append(row | {"random": float(draws.random())})
    return pd.DataFrame(rows)


def measured_columns(target: str, losses: Tensor) -> dict[str, float]:
    """The mean over the judge's images and over each quarter of them, drawn once."""
    parts = torch.randperm(len(losses), generator=torch.Generator().manual_seed(1)).chunk(QUARTERS)
    quarters = {f"{target}_{index}": float(losses[part].double().mean()) for index, part in enumerate(parts)}
    return {target: float(losses.double().mean())} | quarters


def predicted(distances: dict[str, Tensor]) -> dict[str, float]:
    """Mean distances of the predictions on the first 64 inputs of each set, and on all of a larger one."""
    found: dict[str, float] = {}
    for name, values in distances.items():
        for index, distance in enumerate(DISTANCES):
            if distance not in SHORT:
                continue
            label = f"{SHORT[distance]}_{name}"
            if name == "judge":
                found[label] = float(values[index])
                continue
            found[label] = float(values[index, :INPUTS].double().mean())
            if values.shape[1] > INPUTS:
                found[f"{label}_all"] = float(values[index].double().mean())
    return {label: value for label, value in found.items() if label in KIND}


def costs(scanned: float, judged: int, sizes: dict[str, int], steps: int) -> dict[str, tuple[float, float]]:
    """What each rung costs: images put through the network a case, and once for all cases.

    Args:
        scanned: Passes over 64 inputs that the table of one-layer divergences took.
        judged: Images that one case is measured on.
        sizes: Set of inputs → how many.
        steps: Passes forth and back in which synthetic inputs were made.

    Returns:
        Rung → images a case, images once.
    """
    once = scanned * INPUTS
    found: dict[str, tuple[float, float]] = dict.fromkeys(KINDS["weights"] + KINDS["trivial"], (0.0, 0.0))
    found |= dict.fromkeys(KINDS["covariance"], (0.0, 3.0 * min(UNLABELLED, sizes["real"])))
    found |= dict.fromkeys(KINDS["sum over layers"], (0.0, once))
    found["kl_refit"] = (2 * min(sizes["real"], INPUTS), 0.0)
    synthetic = 3.0 * steps * min(sizes["none"], INPUTS)
    found |= dict.fromkeys(("sum_of_kl_none", "sum_of_roots_none"), (0.0, once + synthetic))
    for short in SHORT.values():
        for name, size in sizes.items():
            made = 3.0 * steps if name == "none" else 0.0
            few = min(size, INPUTS)
            found |= {f"{short}_{name}": (few, made * few), f"{short}_{name}_all": (size, made * size)}
        found[f"{short}_judge"] = (judged, 0.0)
    few, none = min(sizes["real"], INPUTS), min(sizes["none"], INPUTS)
    found["combined_weights"] = (0.0, 0.0)
    found["combined_none"] = (none, 3.0 * steps * none + once)
    found["combined_64"] = (few + none, 3.0 * steps * none + 2 * once + 3.0 * min(UNLABELLED, sizes["real"]))
    return found
