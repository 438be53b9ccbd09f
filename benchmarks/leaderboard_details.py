"""docs/leaderboard-details.md: every measure on every network, family and target."""

# pandas leaves open whether a selection is a table or a column.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false

import pandas as pd
from leaderboard_rungs import BASELINES, TARGETS
from leaderboard_tables import best, number, table
from leaderboard_text import DETAILS_HEAD


def details(found: pd.DataFrame) -> str:
    """The text of the page.

    Args:
        found: From ``correlations``.
    """
    text = DETAILS_HEAD
    for network, of_network in found.groupby("network", sort=False):
        text += f"\n## {network}\n"
        for (family, target), group in of_network.groupby(["family", "target"], sort=False):
            whole = group[group["part"] == "all"].dropna(subset=["spearman"])
            first = whole.iloc[0]
            text += f"\n**{family}, {TARGETS[target]}**: {first['cases']} cases, ceiling {first['ceiling']:.3f}\n\n"
            text += _measures(whole, group, split=target == "losses")
    return text


def _measures(whole: pd.DataFrame, group: pd.DataFrame, *, split: bool) -> str:
    trivial = best(whole, BASELINES)
    parts = {part: group[group["part"] == part].set_index("rung")["spearman"] for part in ("near", "lost") if split}
    rows = []
    for _, row in whole.sort_values("spearman", ascending=False).iterrows():
        loses = row["spearman"] < trivial["spearman"] and row["rung"] not in BASELINES
        cells = [f"`{row['rung']}`", row["kind"], number(row["spearman"]), f"{row['low']:.2f} to {row['high']:.2f}"]
        cells += [number(row["kendall"]), *(number(values.get(row["rung"], float("nan"))) for values in parts.values())]
        rows.append([*cells, f"loses to `{trivial['rung']}`" if loses else ""])
    return table(["measure", "looks at", "Spearman", "95 % interval", "Kendall", *parts, ""], rows)
