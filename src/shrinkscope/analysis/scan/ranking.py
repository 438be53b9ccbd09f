"""Layers in the order of how much compressing them alone damages the network."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NOT_RUN = "not run: collapsed"
"""How the reason of a candidate begins that was left out because a milder level had collapsed."""


def ranked(table: "pd.DataFrame", by: str) -> "pd.DataFrame":
    """One row a layer with its mean rank.

    Args:
        table: The rows of a scan.
        by: A numeric column of it.

    Returns:
        Columns layer, score in [0, 1] and candidates, the highest score first.
    """
    import pandas as pd

    frame = pd.DataFrame({name: table[name] for name in ("layer", "method", "level")})
    left_out = table[by].isna() & table["reason"].str.startswith(NOT_RUN, na=False)
    frame["damage"] = table[by].astype("float64").mask(left_out, np.inf)
    frame["score"] = frame.groupby(["method", "level"])["damage"].transform(_scores)
    found = frame.groupby("layer", sort=False)["score"].agg(score="mean", candidates="count").reset_index()
    return found.sort_values("score", ascending=False, kind="stable", na_position="last").reset_index(drop=True)


def _scores(damage: "pd.Series") -> "pd.Series":
    """Ranks from 0 to 1, equal values sharing theirs; a layer alone is in the middle."""
    known = damage.count()
    return (damage.rank(method="average") - 1) / (known - 1) if known > 1 else damage.where(damage.isna(), 0.5)
