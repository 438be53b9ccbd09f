"""Pieces of the leaderboard's pages: Markdown tables, and what stands in their cells."""

# pandas leaves open whether a selection is a table or a column.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportAttributeAccessIssue=false

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from leaderboard_cases import FAMILIES
from leaderboard_networks import FEW_STEPS, STEPS
from leaderboard_rungs import KIND, KINDS, costs
from leaderboard_text import COST_HEAD, NOT_RUN, PEERS_HEAD, PEERS_TAIL


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def number(value: float) -> str:
    """Three digits, or a dash where there is none."""
    return "—" if math.isnan(value) else f"{value:.3f}"


def best(group: pd.DataFrame, rungs: Sequence[str]) -> pd.Series:
    """The row of the rung among these that correlates most."""
    chosen = group[group["rung"].isin(rungs)].dropna(subset=["spearman"])
    return chosen.loc[chosen["spearman"].idxmax()]


def row_of(row: pd.Series) -> str:
    """A rung's name and value."""
    return f"`{row['rung']}` {row['spearman']:.3f}"


def value_of(group: pd.DataFrame, rung: str) -> str:
    """The Spearman correlation of a rung."""
    found = group.loc[group["rung"] == rung, "spearman"]
    return number(float(found.iloc[0])) if len(found) else "—"


def averages(found: pd.DataFrame) -> str:
    """Mean Spearman correlation over the networks of the rungs that all of them have, the best on the whole first."""
    whole = found[(found["part"] == "all") & (found["network"] != "efficientnet_lite0")]
    columns = {family: whole[(whole["family"] == family) & (whole["target"] == "losses")] for family in FAMILIES}
    for target, what in (("refit", "re-estimated"), ("tuned", "trained")):
        chosen = whole[(whole["target"] == target) & whole["family"].isin(FAMILIES[2:])]
        columns[f"totals, {what}"] = chosen
    means: dict[str, pd.Series] = {}
    for name, part in columns.items():
        of_networks = part.pivot_table(index="rung", columns=["network", "family"], values="spearman")
        means[name] = of_networks.dropna().mean(axis=1)
    table_of_means = pd.DataFrame(means)
    shown = table_of_means.drop(KINDS["all judged images, unlabelled"], errors="ignore")
    shown = shown.dropna(subset=list(FAMILIES)).assign(mean=lambda t: t[list(FAMILIES)].mean(axis=1))
    rows = [
        [f"`{rung}`", KIND[str(rung)], *(number(value) for value in row)]
        for rung, row in shown.sort_values("mean", ascending=False).iterrows()
    ]
    head = ["measure", "looks at", *columns, "mean of the first four"]
    about = f"Of {whole['network'].nunique()} networks, without EfficientNet-Lite0, which has fewer cases and no sums; "
    about += "the measures that every one of them has, just compressed and after."
    for name in list(columns)[len(FAMILIES) :]:
        about += f" *{name.capitalize()}*: {', '.join(columns[name]['network'].drop_duplicates())}."
    return about + "\n\n" + table(head, rows)


def costs_table(networks: dict[str, Any]) -> str:
    """What each kind of rung costs in evaluations of one case, and as a share of evaluating all cases."""
    chosen = ("kl_real", "kl_none", "sum_of_kl", "ap3_kfac", "ap2", "combined_none", "combined_64")
    head = [
        "network",
        "measure",
        "a case",
        "once",
        "of all cases, this judge",
        "of all, 10,000 images",
        "seconds a case",
    ]
    rows = []
    for name, about in networks.items():
        spent = costs(about["table"]["forwards"], about["judge"], about["inputs"], _steps(name, about))
        images = sum(about["inputs"].values())
        for rung in chosen:
            if rung == "sum_of_kl" and not about["table"]["forwards"]:
                continue
            each, once = spent[rung]
            cases = about["measured"]
            shares = [(once + cases * each) / (cases * judged) for judged in (about["judge"], 10_000)]
            seconds = about["seconds"]["inputs"] * each / images
            if rung in (*KINDS["covariance"], *KINDS["weights"], "combined_none", "combined_64"):
                seconds += about["seconds"]["weights"]
            cells = [f"{each / about['judge']:.4f}", f"{once / about['judge']:.2f}", *(f"{s:.2%}" for s in shares)]
            rows.append([name, f"`{rung}`", *cells, f"{seconds:.3f}"])
        rows.append([name, "*measuring a case*", "1", "", "100 %", "", f"{about['seconds']['judge']:.3f}"])
    return COST_HEAD + table(head, rows)


def _steps(name: str, about: dict[str, Any]) -> int:
    if not about["norms"]:
        return 0
    return FEW_STEPS if name == "efficientnet_lite0" else STEPS


def peers_table(rows: list[dict[str, Any]]) -> str:
    """Other tools beside ours."""
    if not rows:
        return NOT_RUN
    head = [
        "tool",
        "measure",
        "cases",
        "Spearman",
        "95 % interval",
        "Kendall",
        "ours on these cases",
        "processor seconds",
    ]
    cells, failed = [], ""
    for row in rows:
        if "failed" in row:
            failed += f"\n{row['tool']}: {row['failed']}.\n"
            continue
        about = [f"{row['tool']} {row['version']}", row["measure"], str(row["cases"]), number(row["spearman"])]
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        cells.append([*about, interval, number(row["kendall"]), number(row["ours"]), f"{row['seconds']:.1f}"])
    ceiling = next(row["ceiling"] for row in rows if "ceiling" in row)
    return f"{PEERS_HEAD}Ceiling {ceiling:.3f}.\n\n" + table(head, cells) + failed + PEERS_TAIL
