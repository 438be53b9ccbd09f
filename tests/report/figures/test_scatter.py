import itertools
import re
from typing import Any

import numpy as np

from shrinkscope.analysis.concordance import concordance
from shrinkscope.experiments.agreement import agreements
from shrinkscope.report.curves import Curves
from shrinkscope.report.figures.scatter import ap_against_pd, in_words


def tau_of_pairs(trials: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Kendall's tau-b by its definition: concordant minus discordant pairs, scaled by the pairs without ties."""
    pairs = [(x[i] - x[j], y[i] - y[j]) for x, y in trials for i, j in itertools.combinations(range(len(x)), 2)]
    score = sum(np.sign(dx) * np.sign(dy) for dx, dy in pairs)
    return score / np.sqrt(sum(dx != 0 for dx, _ in pairs) * sum(dy != 0 for _, dy in pairs))


def values(records: Any, metric: str, trial: int, epoch: int) -> np.ndarray:
    chosen = (records.metric == metric) & (records.layer == "") & (records.scope == "all") & (records.trial == trial)
    chosen &= (records.epoch == epoch) & (records.method != "dense")
    return records[chosen].sort_values(["method", "level"])["value"].to_numpy()


def test_the_titles_give_kendalls_tau(records: Any):
    picture = ap_against_pd(Curves(records), ["ap2", "ap3_gaussian"], "pd_accuracy_test", "all")
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes]
    expected = []
    for epoch, ap in itertools.product((0, 20), ("ap2", "ap3_gaussian")):
        trials = [
            (values(records, ap, trial, epoch), values(records, "pd_accuracy_test", trial, epoch))
            for trial in (1, 2, 3)
        ]
        expected.append(f"τ = {tau_of_pairs(trials):+.2f}")
    assert [title.partition(" [")[0] for title in titles] == expected
    assert all(re.fullmatch(r"τ = \+\d\.\d\d \[\+\d\.\d\d, \+\d\.\d\d\]", title) for title in titles)


def test_the_tau_is_that_of_the_conclusions(records: Any):
    found = [a for a in agreements(records, ("pd_loss_test",)) if (a.scope, a.epoch, a.ap) == ("all", 20, "ap2")]
    picture = ap_against_pd(Curves(records), ["ap2"], "pd_loss_test", "all")
    assert picture.figure.axes[1].get_title(loc="left") == in_words(found[0].concordance)


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
    assert {axes.get_title(loc="left") for axes in picture.figure.axes} == {"τ n/a"}


def test_without_a_value_there_is_no_tau_but_the_other_points(records: Any):
    holed = records.copy()
    lost = (holed.metric == "pd_loss_test") & (holed.method == "highest") & (holed.level == 0.8)
    holed.loc[lost, "value"] = np.nan
    picture = ap_against_pd(Curves(holed), ["ap2"], "pd_loss_test", "all")
    axes = picture.figure.axes[0]
    drawn = np.concatenate([np.ma.filled(c.get_offsets(), np.nan) for c in axes.collections])
    assert np.isfinite(drawn[:, 1]).sum() == 33
    assert axes.get_title(loc="left") == "τ n/a"


def test_a_minus_is_a_minus_and_a_missing_interval_is_left_out(records: Any):
    found = concordance([1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 3.0, 2.0], resamples=0)
    assert in_words(found) == "τ = −0.33"
