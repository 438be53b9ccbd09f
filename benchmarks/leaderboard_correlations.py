"""Rank correlations of the rungs with what was measured, the ceiling that noise sets, and combinations of rungs."""

# pandas leaves open whether a selection is a table or a column.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false

from itertools import combinations

import numpy as np
import pandas as pd
from leaderboard_rungs import KIND, KINDS, QUARTERS, TARGETS
from scipy.optimize import nnls
from scipy.stats import kendalltau, rankdata, spearmanr

RESAMPLES, NEAR, FEWEST = 500, 0.05, 10

# What a combination may use, each also with the opposite sign where the sign is not known beforehand.
_WEIGHTS = [*KINDS["weights"], "mean_sparsity", "depth", "parameters"]
_NONE = ["kl_none", "tv_none", "soft_none"]
_REAL = ["kl_real", "tv_real", "soft_real", *KINDS["covariance"], *KINDS["sum over layers"]]
COMBINATIONS = {
    "combined_weights": _WEIGHTS,
    "combined_none": [*_WEIGHTS, *_NONE],
    "combined_64": [*_WEIGHTS, *_NONE, *_REAL],
}
_EITHER_SIGN = ("mean_sparsity", "depth", "parameters")


def with_combinations(records: pd.DataFrame) -> pd.DataFrame:
    """The records with weighted sums of ranks, whose weights come from the other networks' cases of the family.

    Ranks are fractions within a network and family, so that they mean the same in every network; the weights are those
    of least squares that are not negative. A network that is the only one of its family has none.

    Args:
        records: A row a case.
    """
    found = records.drop(columns=[name for name in COMBINATIONS if name in records]).reset_index(drop=True)
    for name, rungs in COMBINATIONS.items():
        values = pd.Series(np.nan, index=found.index)
        for _, family in found.groupby("family", sort=False):
            parts = dict(iter(family.groupby("network", sort=False)))
            systems = {network: (_ranks(part, rungs), _rank(part["losses"])) for network, part in parts.items()}
            for network, part in parts.items():
                others = [systems[other] for other in parts if other != network]
                if others:
                    values[part.index] = systems[network][0] @ _learned(others)
        found[name] = values
    return found


def _ranks(part: pd.DataFrame, rungs: list[str]) -> np.ndarray:
    columns = [_rank(part[rung]) for rung in rungs]
    columns += [-_rank(part[rung]) for rung in rungs if rung in _EITHER_SIGN]
    return np.stack(columns, axis=1)


def _rank(values: pd.Series) -> np.ndarray:
    return (rankdata(values.to_numpy()) - 0.5) / len(values) - 0.5


def _learned(systems: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    # Each network counts the same, however many cases it has.
    matrix = np.concatenate([ranks / np.sqrt(len(ranks)) for ranks, _ in systems])
    right = np.concatenate([rank / np.sqrt(len(rank)) for _, rank in systems])
    return nnls(matrix, right)[0]


def reliability(part: pd.DataFrame, target: str) -> float:
    """Rank correlation of the measured difference with one measured on as many other images.

    The mean over the three ways to make halves of four quarters, stepped up to the whole by Spearman-Brown; its root is
    the largest correlation that anything can reach.
    """
    quarters = part[[f"{target}_{index}" for index in range(QUARTERS)]].to_numpy()
    between = []
    for other in range(1, QUARTERS):
        first = quarters[:, [0, other]].mean(axis=1)
        second = quarters[:, [q for q in range(1, QUARTERS) if q != other]].mean(axis=1)
        between.append(float(spearmanr(first, second)[0]))
    half = max(0.0, float(np.mean(between)))
    return 2 * half / (1 + half)


def stepped_up(part: pd.DataFrame, target: str) -> tuple[float, float]:
    """Reliability of half of the images: by Spearman-Brown from its halves, and measured. Is the formula right here?"""
    quarters = part[[f"{target}_{index}" for index in range(QUARTERS)]].to_numpy()
    quarter = np.mean([spearmanr(quarters[:, a], quarters[:, b])[0] for a, b in combinations(range(QUARTERS), 2)])
    whole = reliability(part, target)
    return float(2 * quarter / (1 + quarter)), whole / (2 - whole)


def correlations(records: pd.DataFrame) -> pd.DataFrame:
    """Spearman and Kendall of every rung, by network, family, target and part, with percentile bootstrap intervals.

    Args:
        records: A row a case, with combinations.
    """
    rows = []
    for (network, family), group in records.groupby(["network", "family"], sort=False):
        for target in TARGETS:
            whole = group.dropna(subset=[target]) if target in group else group[:0]
            if len(whole) < FEWEST:
                continue
            about = {"network": network, "family": family, "target": target}
            about |= {"ceiling": float(np.sqrt(reliability(whole, target)))}
            parts = {"all": whole}
            if target == "losses":
                parts |= {"near": whole[whole["drop"] < NEAR], "lost": whole[whole["drop"] >= NEAR]}
            for part, chosen in parts.items():
                for rung in [name for name in KIND if name in chosen and not chosen[name].isna().any()]:
                    found = agreement(chosen[rung].to_numpy(), chosen[target].to_numpy(), intervals=part == "all")
                    rows.append(about | {"part": part, "cases": len(chosen), "rung": rung, "kind": KIND[rung]} | found)
    return pd.DataFrame(rows)


def agreement(values: np.ndarray, lost: np.ndarray, *, intervals: bool) -> dict[str, float]:
    """Spearman and Kendall, with a bootstrap interval over the cases where it is asked for; NaN of too few cases."""
    if len(values) < FEWEST or np.ptp(values) == 0 or np.ptp(lost) == 0:
        return dict.fromkeys(("spearman", "low", "high", "kendall"), np.nan)
    found = {"spearman": float(spearmanr(values, lost)[0]), "kendall": float(kendalltau(values, lost)[0])}
    return found | (_interval(values, lost) if intervals else {"low": np.nan, "high": np.nan})


def _interval(values: np.ndarray, lost: np.ndarray) -> dict[str, float]:
    rows = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    ranks = [rankdata(measure[rows], axis=1) - (len(values) + 1) / 2 for measure in (values, lost)]
    with np.errstate(invalid="ignore"):  # a resample in which all values are equal has no correlation
        drawn = (ranks[0] * ranks[1]).sum(1) / np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
