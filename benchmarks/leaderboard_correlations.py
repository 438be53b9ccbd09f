"""Rank correlations of the rungs with what was measured, the ceiling that noise sets, and combinations of rungs."""

# pandas leaves open whether a selection is a table or a column.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false

from itertools import combinations

import numpy as np
import pandas as pd
from leaderboard_rungs import KIND, QUARTERS, TARGETS
from scipy.stats import kendalltau, rankdata, spearmanr

RESAMPLES, NEAR, FEWEST = 500, 0.05, 15

# A combination begins with its first rung and may add the others, each to a power.
COMBINATIONS = {
    "combined_weights": ("relative_ap2", "ap2", "relative_rows", "relative_spectral", "ap3_gaussian", "ap3_student_t"),
    "combined_none": ("kl_none", "js_none", "sum_of_roots_none", "relative_ap2", "relative_spectral", "ap2"),
    "combined_64": ("kl_real", "kl_none", "sum_of_roots", "relative_ap2", "ap3_relative_input", "ap3_fisher"),
}
POWERS, ROUNDS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0), 2
_TINY = 1e-12


def with_combinations(records: pd.DataFrame) -> pd.DataFrame:
    """The records with products of powers of rungs, whose powers come from the other networks' cases of the family.

    The powers are those, in a few rounds over the rungs, that make the mean Spearman correlation on the other networks
    largest, each network counting the same. A network that is the only one of its family has none.

    Args:
        records: A row a case.
    """
    found = records.drop(columns=[name for name in COMBINATIONS if name in records]).reset_index(drop=True)
    for name, rungs in COMBINATIONS.items():
        values = pd.Series(np.nan, index=found.index)
        for _, family in found.groupby("family", sort=False):
            groups = family.groupby("network", sort=False)
            parts = {network: part for network, part in groups if len(part) >= FEWEST}
            systems = {
                # A rung that a network has not: the same for all of its cases, so that no power of it matters.
                network: (np.nan_to_num(np.log(part[list(rungs)].to_numpy().clip(_TINY))), rankdata(part["losses"]))
                for network, part in parts.items()
            }
            for network, part in parts.items():
                others = [systems[other] for other in parts if other != network]
                if others:
                    values[part.index] = systems[network][0] @ learned_powers(others)
        found[name] = values
    return found


def learned_powers(systems: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Powers of the rungs, the first 1.

    Args:
        systems: Of each network the logarithms of the rungs (cases, rungs) and the ranks of what was measured.
    """

    def mean(powers: np.ndarray) -> float:
        return float(np.mean([np.corrcoef(rankdata(logs @ powers), ranks)[0, 1] for logs, ranks in systems]))

    powers = np.zeros(systems[0][0].shape[1])
    powers[0] = 1.0
    for _ in range(ROUNDS):
        for index in range(1, len(powers)):
            tried = [np.concatenate([powers[:index], [power], powers[index + 1 :]]) for power in POWERS]
            powers = max(tried, key=mean)
    return powers


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


def halves(part: pd.DataFrame, target: str) -> tuple[float, float]:
    """Reliability of half of the images: by Spearman-Brown from quarters, and as halves show it."""
    whole = reliability(part, target)
    quarter = _quarter(part, target)
    return 2 * quarter / (1 + quarter), whole / (2 - whole)


def grown(part: pd.DataFrame, target: str) -> float:
    """The reliability of the whole if its odds grow from halves as they did from quarters to halves.

    Spearman-Brown doubles the odds r/(1 − r) with each doubling of the images. Ranks of cases that change next to
    nothing are all noise, and gain less.
    """
    whole, quarter = reliability(part, target), _quarter(part, target)
    half = whole / (2 - whole)
    if not 0 < quarter < 1 or not 0 < half < 1:
        return float("nan")
    odds = half / (1 - half)
    odds *= odds / (quarter / (1 - quarter))
    return odds / (1 + odds)


def _quarter(part: pd.DataFrame, target: str) -> float:
    quarters = part[[f"{target}_{index}" for index in range(QUARTERS)]].to_numpy()
    return float(np.mean([spearmanr(quarters[:, a], quarters[:, b])[0] for a, b in combinations(range(QUARTERS), 2)]))


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
    # How often each case is in a sample says all: cases are ranked by adding up these numbers, not by sorting anew.
    cases = len(values)
    counts = np.random.default_rng(0).multinomial(cases, np.full(cases, 1 / cases), size=RESAMPLES)
    ranks = [_ranks(measure, counts) - cases / 2 for measure in (values, lost)]
    with np.errstate(invalid="ignore"):  # a resample in which all values are equal has no correlation
        squares = [(counts * rank**2).sum(1) for rank in ranks]
        drawn = (counts * ranks[0] * ranks[1]).sum(1) / np.sqrt(squares[0] * squares[1])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean rank of each case in each resample, less a half; equal values share it."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    together = np.add.reduceat(counts[:, order], starts, axis=1)
    middles = together.cumsum(axis=1) - together / 2
    return middles[:, np.searchsorted(values[order][starts], values)]
