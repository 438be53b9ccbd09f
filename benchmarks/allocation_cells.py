"""Cells of the allocation tables: a choice carried out in one way, and by how much it is behind another."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from allocation_rows import Row, unpacked
from numpy.typing import NDArray

PLANNED = {
    "magnitude": "",
    "compensated": ", planned for compensated weights",
    "reestimated": ", planned for re-estimated statistics",
    "compensated-reestimated": ", planned for both",
    "without data": ", without data",
}

WAYS = {
    "magnitude": "The lowest magnitudes go, nothing else changes",
    "compensated": "Those weights go that the others can make up for, and these do",
    "magnitude, re-estimated": "The lowest magnitudes go; batch norm's statistics re-estimated from the inputs",
    "compensated, re-estimated": "The others make up for what goes; batch norm's statistics re-estimated",
    "magnitude, trained": "The lowest magnitudes go; then brief training",
    "compensated, trained": "The others make up for what goes; then brief training",
}


TWO_SIDED = 1.96
"""Standard errors within which a difference may be none: 95 % of a normal law."""


class Cell(NamedTuple):
    """One allocation at one level in one way: accuracies in percent, one a draw; by image, the share of draws right."""

    accuracies: list[float]
    right: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Accuracy in percent, over the draws."""
        return sum(self.accuracies) / len(self.accuracies)

    def behind(self, other: "Cell") -> tuple[float, float]:
        """Points of accuracy that this one is behind another, and their standard error over images and draws."""
        apart = 100 * (other.right - self.right)
        images = float(apart.var(ddof=1) / len(apart))
        return float(apart.mean()), (images + self.drawn + other.drawn) ** 0.5

    @property
    def drawn(self) -> float:
        """Squared standard error over the draws; 0 where there is one, of which nothing can be told."""
        draws = len(self.accuracies)
        return float(np.var(self.accuracies, ddof=1)) / draws if draws > 1 else 0.0


Level = Mapping[str, Cell]
"""The cells of one level, by what the allocation is called in tables."""


def cells(rows: Sequence[Row], way: str) -> dict[float, Level]:
    """What was measured in one way, by level and allocation.

    Args:
        rows: Of one network.
        way: One of ``WAYS``.
    """
    found: dict[float, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        # Earlier versions of the benchmark did not keep which images were right, and planned what looks at nothing.
        again = row["allocation"] == "uniform" and row["for"] != "magnitude"
        if way in row.get("right", {}) and not again:
            found[row["level"]][row["allocation"] + PLANNED[row["for"]]].append(row)
    return {level: {label: _cell(alike, way) for label, alike in found[level].items()} for level in sorted(found)}


def ours(rows: Sequence[Row], way: str) -> str:
    """What the search is called where it is planned for the way in which it is carried out.

    Training moves the statistics of batch norm, too: where there is batch norm, it is planned for their re-estimation.

    Args:
        rows: Of one network.
        way: One of ``WAYS``.
    """
    weights, _, then = way.partition(", ")
    purposes = [] if weights == "magnitude" else ["compensated"]
    if then and any("re-estimated" in way for row in rows for way in row["accuracy"]):
        purposes.append("reestimated")
    return "joint" + PLANNED["-".join(purposes) or "magnitude"]


def rivals(level: Level) -> dict[str, Cell]:
    """What is not the search, whatever it is planned for."""
    return {label: cell for label, cell in level.items() if not label.startswith("joint")}


def first_of(level: Level) -> str:
    """The allocation with the largest accuracy."""
    return max(level, key=lambda label: level[label].mean)


def holds(cell: Cell, others: Level, errors: float = TWO_SIDED) -> bool:
    """Whether a cell is ahead of the first of others, or behind it by no more than so many standard errors."""
    points, error = cell.behind(others[first_of(others)])
    return points <= errors * error


def _cell(rows: Sequence[Row], way: str) -> Cell:
    right = [unpacked(row["right"][way], row["images"]) for row in rows]
    return Cell([row["accuracy"][way] for row in rows], np.mean(right, axis=0))
