"""Several studies held together, against counting every pair of every trial."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from shrinkscope.experiments.pooled import pooled


def table(seed: int, trials: int = 3, cells: int = 6) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    harm = draw.normal(size=trials * cells)
    return pd.DataFrame(
        {
            "trial": np.repeat(np.arange(1, trials + 1), cells),
            "ap2": harm + 2 * draw.normal(size=len(harm)),
            "ap3": harm + draw.normal(size=len(harm)),
            "pd": harm,
        }
    )


def counted(tables: list[pd.DataFrame], ap: str) -> tuple[int, int]:
    """Pairs of networks of one trial that AP and PD order alike, less those they do not; and all of them."""
    score = pairs = 0
    for found in tables:
        for _, rows in found.groupby("trial"):
            for (_, a), (_, b) in itertools.combinations(rows.iterrows(), 2):
                score, pairs = score + int(np.sign((a[ap] - b[ap]) * (a["pd"] - b["pd"]))), pairs + 1
    return score, pairs


def test_the_difference_is_that_of_counted_pairs():
    tables = [table(seed) for seed in range(4)]
    found = pooled(tables, "ap3", "ap2", "pd")
    assert found is not None
    (first, pairs), (second, _) = counted(tables, "ap3"), counted(tables, "ap2")
    for pair in (found.over_trials, found.over_studies):
        # Without ties, ratios of integers.
        assert pair.first == pytest.approx(first / pairs, rel=1e-13)
        assert pair.second == pytest.approx(second / pairs, rel=1e-13)
    assert (found.studies, found.over_trials.units, found.over_studies.units) == (4, 12, 4)
    signs = found.over_trials.signs
    assert signs.better + signs.worse + signs.tied == 12


def test_the_interval_is_that_of_resampled_trials():
    tables = [table(seed) for seed in range(4)]
    found = pooled(tables, "ap3", "ap2", "pd")
    assert found is not None
    one = [counted([rows], ap) for t in tables for _, rows in t.groupby("trial") for ap in ("ap3", "ap2")]
    leads = np.array([(a[0] - b[0]) / a[1] for a, b in zip(one[::2], one[1::2], strict=True)])
    drawn = leads[np.random.default_rng(0).integers(0, 12, (20_000, 12))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # The error of a 2.5 % quantile of a thousand resamples, as in tests/analysis/test_claims.py; five of them.
    tolerance = 5 * np.std(drawn) * math.sqrt(0.025 * 0.975 * (1 / 1000 + 1 / 20_000)) / 0.058
    assert found.over_trials.lower == pytest.approx(low, abs=tolerance)
    assert found.over_trials.upper == pytest.approx(high, abs=tolerance)


def test_studies_that_lack_a_measure_are_left_out():
    whole, without = table(1), table(2).drop(columns="ap3")
    holed = table(3).assign(ap3=[None, *range(17)])
    found = pooled([without, whole, holed], "ap3", "ap2", "pd")
    assert found is not None
    assert found.studies == 1
    assert pooled([without, holed], "ap3", "ap2", "pd") is None
