"""How often the interval of a predicted loss holds the measured one, on real networks: the cases of the leaderboard.

    python benchmarks/prediction.py            # reads docs/leaderboard.csv, writes docs/prediction.md

Sixteen configurations of a network and family are drawn and calibrated on, the others are predicted from their mean
predictive KL on 64 unlabelled inputs; many times over. Beside it what needs no rung at all: an interval from the
sixteen measured differences alone.
"""

# pandas leaves open whether a selection is a table or a column.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportOptionalOperand=false

import argparse
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shrinkscope.analysis import calibrate

DOCS = Path(__file__).parents[1] / "docs"
MEASURED, CONFIDENCE, FEWEST = 16, 0.9, 40

Vector = NDArray[np.float64]


class Found(NamedTuple):
    """Of held-out configurations, over all calibrations.

    Attributes:
        coverage: Share of those in range whose interval holds the measured difference.
        error: Its standard error over calibrations.
        answered: Share that is in range.
        width: Median width of the interval.
        without: Median width of an interval of the same coverage that looks at no rung.
        missed: Median absolute error of the predicted value.
        missed_without: The same of the median of the sixteen.
    """

    coverage: float
    error: float
    answered: float
    width: float
    without: float
    missed: float
    missed_without: float


def coverage(rung: Vector, measured: Vector, direction: Any, calibrations: int, seed: int = 0) -> Found:
    """Calibrate on configurations drawn at random and predict the others, many times.

    Args:
        rung: Rung value of each configuration.
        measured: Measured difference of each.
        direction: As for ``calibrate``.
        calibrations: How often.
        seed: Of the draws.
    """
    draws, rows = np.random.default_rng(seed), []
    for _ in range(calibrations):
        order = draws.permutation(len(rung))
        known, new = order[:MEASURED], order[MEASURED:]
        if np.ptp(rung[known]) == 0:
            continue
        found = calibrate(rung[known], measured[known], direction=direction, confidence=CONFIDENCE).predict_all(
            rung[new]
        )
        inside = [(p, d) for p, d in zip(found, measured[new], strict=True) if p.in_range]
        if inside:
            # The same chance that a new value lies between two order statistics: (rank difference)/(n + 1).
            low, high = np.quantile(measured[known], [0.05, 0.95], method="weibull")
            middle = np.median(measured[known])
            rows.append(
                (
                    np.mean([p.lower <= d <= p.upper for p, d in inside]),
                    len(inside) / len(new),
                    np.median([p.upper - p.lower for p, _ in inside]),
                    high - low,
                    np.median([abs(p.value - d) for p, d in inside]),
                    np.median([abs(middle - d) for _, d in inside]),
                )
            )
    table = np.array(rows, dtype=np.float64)
    error = float(table[:, 0].std(ddof=1) / math.sqrt(len(table)))
    held, answered, *_ = table.mean(axis=0)
    width, without, missed, missed_without = np.median(table[:, 2:], axis=0)
    return Found(held, error, answered, width, without, missed, missed_without)


HEAD = f"""# Predicted performance, and how often the interval holds

<!-- Made by benchmarks/prediction.py from leaderboard.csv; do not edit. -->

`calibrate` learns from {MEASURED} measured configurations what a rung value costs, and predicts the others with a 90 %
interval, or says *out of range* ([how to choose](how-to-choose.md)). Here the rung is the mean predictive KL on 64
unlabelled inputs, the configurations are the cases of the [leaderboard](leaderboard.md), and {{calibrations}} times
{MEASURED} are drawn to calibrate on; the standard error is over these draws. *Coverage* is the share of held-out
configurations in range whose interval holds what was measured; what is to be expected is 93 % (14 of 15), what is
proved 80 %. *Width* is the median width of the interval, *error* the median absolute error of the value; beside each,
what the {MEASURED} measured differences give without any rung (their 5 % to 95 % range, and their median).
"""


def page(records: pd.DataFrame, calibrations: int) -> str:
    """docs/prediction.md."""
    text = HEAD.format(calibrations=calibrations)
    shares: list[float] = []
    tied: list[str] = []
    for title, column, direction, sign, scale, unit in (
        ("Loss", "losses", "rising", 1.0, 1.0, "nats"),
        ("Accuracy", "drop", "falling", -1.0, 100.0, "points"),
    ):
        text += f"\n## {title}\n\n| network | family | cases | coverage | in range | width ({unit}) | without a rung "
        text += f"| error ({unit}) | without a rung |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n"
        for (network, family), group in records.groupby(["network", "family"], sort=False):  # type: ignore[misc]
            if len(group) < FEWEST:
                continue
            measured = sign * scale * group[column].to_numpy(dtype=np.float64)
            found = coverage(group["kl_real"].to_numpy(dtype=np.float64), measured, direction, calibrations)
            shares.append(found.coverage)
            if (same := _same(measured)) > 0.5:
                tied.append(f"{network}, {family} ({title.lower()}, {same:.0%})")
            text += f"| {network} | {family} | {len(group)} | {found.coverage:.1%} ± {found.error:.1%} "
            text += f"| {found.answered:.0%} | {found.width:.3g} | {found.without:.3g} "
            text += f"| {found.missed:.3g} | {found.missed_without:.3g} |\n"
    text += f"\nCoverage runs from {min(shares):.1%} to {max(shares):.1%} over {len(shares)} rows. "
    return text + (
        "Where the interval is as wide as the one\nwithout a rung, the rung says little of the configurations of that "
        "family: the [leaderboard](leaderboard.md) shows which\nthose are.\n" + _ties(tied)
    )


def _same(measured: NDArray[np.float64]) -> float:
    """The share of the most frequent value."""
    return float(np.unique(measured, return_counts=True)[1].max() / len(measured))


def _ties(tied: Sequence[str]) -> str:
    """Which rows say little, because most of their networks measure the same."""
    if not tied:
        return ""
    rows = textwrap.fill("; ".join(tied), 118)
    return (
        "\nIn these rows more than half of the networks measure exactly the same (share in brackets): they have "
        "collapsed, an\ninterval of no width would hold most of them, and coverage above 95 % means nothing more.\n\n"
        f"{rows}.\n"
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=DOCS / "leaderboard.csv")
    parser.add_argument("--calibrations", type=int, default=200)
    options = parser.parse_args()
    text = page(pd.read_csv(options.records), options.calibrations)
    (DOCS / "prediction.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
