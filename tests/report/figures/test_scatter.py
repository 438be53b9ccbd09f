import itertools
from typing import Any

import numpy as np
import pytest

from shrinkscope.report.curves import Curves
from shrinkscope.report.figures.scatter import ap_against_pd, tau_in_words


def tau_of_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b by its definition: concordant minus discordant pairs, scaled by the pairs without ties."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    products = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs]
    untied_x = sum(x[i] != x[j] for i, j in pairs)
    untied_y = sum(y[i] != y[j] for i, j in pairs)
    return sum(products) / np.sqrt(untied_x * untied_y)


def values(records: Any, metric: str, trial: int, epoch: int) -> np.ndarray:
    chosen = (records.metric == metric) & (records.layer == "") & (records.scope == "all") & (records.trial == trial)
    chosen &= (records.epoch == epoch) & (records.method != "dense")
    return records[chosen].sort_values(["method", "level"])["value"].to_numpy()


def test_the_titles_give_kendalls_tau(records: Any):
    picture = ap_against_pd(Curves(records), ["ap2", "ap3_gaussian"], "pd_accuracy_test", "all")
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes]
    expected = []
    for epoch, ap in itertools.product((0, 20), ("ap2", "ap3_gaussian")):
        taus = [
            tau_of_pairs(values(records, ap, trial, epoch), values(records, "pd_accuracy_test", trial, epoch))
            for trial in (1, 2, 3)
        ]
        expected.append(f"τ = {np.mean(taus):.2f} ({min(taus):.2f} to {max(taus):.2f})")
    assert titles == expected


def test_every_network_is_a_point(records: Any):
    picture = ap_against_pd(Curves(records), ["ap2"], "pd_loss_test", "all")
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in picture.figure.axes[0].collections])
    ap = np.concatenate([values(records, "ap2", trial, 0) for trial in (1, 2, 3)])
    pd_loss = np.concatenate([values(records, "pd_loss_test", trial, 0) for trial in (1, 2, 3)])
    np.testing.assert_array_equal(np.sort(drawn[:, 0]), np.sort(ap))
    np.testing.assert_array_equal(np.sort(drawn[:, 1]), np.sort(pd_loss))


def test_equal_performance_has_no_order(records: Any):
    level = records.copy()
    level.loc[level.metric == "pd_accuracy_test", "value"] = 0.0
    picture = ap_against_pd(Curves(level), ["ap2"], "pd_accuracy_test", "all")
    assert {axes.get_title(loc="left") for axes in picture.figure.axes} == {"τ undefined"}


def test_a_network_that_was_not_measured_is_left_out(records: Any):
    holed = records.copy()
    lost = (holed.metric == "pd_loss_test") & (holed.method == "highest") & (holed.level == 0.8)
    holed.loc[lost, "value"] = np.nan
    picture = ap_against_pd(Curves(holed), ["ap2"], "pd_loss_test", "all")
    kept = holed[~((holed.method == "highest") & (holed.level == 0.8))]
    taus = [tau_of_pairs(values(kept, "ap2", t, 0), values(kept, "pd_loss_test", t, 0)) for t in (1, 2, 3)]
    assert picture.figure.axes[0].get_title(loc="left").startswith(f"τ = {np.mean(taus):.2f}")


@pytest.mark.parametrize("negative", [-0.25])
def test_a_minus_is_a_minus(negative: float):
    assert tau_in_words(np.array([negative])) == "τ = −0.25"
