"""The failures that the paper's text concedes, looked for in the tables of one study."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import pandas as pd

LOWEST = "lowest magnitude, 30 % and 50 %: AP and PD disagree (figure 2)"
HIGHEST = "highest magnitude, 80 %: AP and PD disagree with the other methods (figures 14 to 17)"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A failure that the paper concedes, looked for in one study.

    Attributes:
        claim: What the text says.
        scope: Part of the network that was pruned.
        ap: Metric of the AP.
        pd: Metric of the performance difference.
        pairs: Pairs of networks (a trial and an epoch each) that bear on it and differ in both measures.
        discordant: How many of them AP and PD order differently.
        found: Whether there is such a pair; None without a pair.
    """

    claim: str
    scope: str
    ap: str
    pd: str
    pairs: int
    discordant: int
    found: bool | None


def conceded_failures(
    tables: Mapping[tuple[str, int], pd.DataFrame], aps: Sequence[str], pds: Sequence[str]
) -> list[Failure]:
    """Count the pairs of networks that bear on each failure, and those that AP and PD order differently.

    Args:
        tables: (scope, epoch) → the networks, a row each, as ``cases_at`` gives them.
        aps: Metrics of the APs.
        pds: Metrics of the performance differences.

    Returns:
        A failure for each AP, PD, scope and claim, over all epochs.
    """
    metrics = [*aps, *pds]
    signs = {
        (scope, claim): _signs([table for key, table in tables.items() if key[0] == scope], select, metrics)
        for scope in dict.fromkeys(key[0] for key in tables)
        for claim, select in ((LOWEST, _two_levels), (HIGHEST, _harshest))
    }
    return [
        _failure(claim, scope, ap, name, found[:, metrics.index(ap)] * found[:, metrics.index(name)])
        for ap in aps
        for name in pds
        for (scope, claim), found in signs.items()
    ]


def _failure(claim: str, scope: str, ap: str, name: str, product: np.ndarray) -> Failure:
    # A pair that is equal in one of the measures, or not measured, says nothing.
    pairs, wrong = int((np.abs(product) == 1).sum()), int((product == -1).sum())
    found = wrong > 0 if pairs else None
    return Failure(claim=claim, scope=scope, ap=ap, pd=name, pairs=pairs, discordant=wrong, found=found)


def _signs(tables: Sequence[pd.DataFrame], select: "_Select", metrics: Sequence[str]) -> np.ndarray:
    """How the first network of each pair compares with the second: 1, 0, −1 or NaN, shape (pairs, metrics)."""
    found = [np.empty((0, len(metrics)))]
    for table in tables:
        values = table[list(metrics)].to_numpy(dtype=np.float64)
        pairs = list(select(list(zip(table["trial"], table["method"], table["level"], strict=True))))
        if pairs:
            one, other = (values[list(rows)] for rows in zip(*pairs, strict=True))
            compared = (one > other).astype(np.float64) - (one < other)
            found.append(np.where(np.isnan(one) | np.isnan(other), np.nan, compared))
    return np.concatenate(found)


Cells = list[tuple[int, str, float]]
_Select = Callable[[Cells], Iterator[tuple[int, int]]]


def _two_levels(cells: Cells) -> Iterator[tuple[int, int]]:
    """50 % and 30 % of the lowest magnitudes removed, a pair a trial."""
    for row, (trial, method, level) in enumerate(cells):
        if method == "lowest" and level == 0.5 and (trial, "lowest", 0.3) in cells:
            yield row, cells.index((trial, "lowest", 0.3))


def _harshest(cells: Cells) -> Iterator[tuple[int, int]]:
    """Every other method beside "highest" at 80 %, a pair a trial and method."""
    for row, (trial, method, level) in enumerate(cells):
        if level == 0.8 and method != "highest" and (trial, "highest", 0.8) in cells:
            yield cells.index((trial, "highest", 0.8)), row
