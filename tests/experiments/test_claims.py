"""Claims of a made-up study, against counting every pair and scipy."""

import itertools

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from shrinkscope.experiments.agreement import cases_at, tables_of
from shrinkscope.experiments.claims import Claims, claims

METHODS, LEVELS, TRIALS, EPOCHS = ("lowest", "random", "highest"), (0.3, 0.5, 0.8), (1, 2, 3), (0, 1)
NAMES = ("ap2", "ap3_student_t", "ap3_student_t_grouped", "pd_loss_test")


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    rng, rows = np.random.default_rng(7), []
    for trial, epoch, method, level in itertools.product(TRIALS, EPOCHS, METHODS, LEVELS):
        base = level * (1 + METHODS.index(method))
        values = base * rng.lognormal(0, 0.5, len(NAMES))
        cell = {"trial": trial, "scope": "last", "method": method, "level": level, "epoch": epoch, "layer": ""}
        rows += [cell | {"metric": n, "value": v} for n, v in zip(NAMES, values, strict=True)]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def found(records: pd.DataFrame) -> Claims:
    return claims(records, ("pd_loss_test", "pd_loss_train"))  # the second was not recorded


def wide(records: pd.DataFrame, epoch: int) -> pd.DataFrame:
    return records[records.epoch == epoch].pivot(index=["trial", "method", "level"], columns="metric", values="value")


def net_agreement(rows: pd.DataFrame, ap: str, apart: list[str]) -> tuple[int, int]:
    """Score and number of the pairs of rows that agree in ``apart``, by a loop."""
    table = rows.reset_index()
    agree = [
        np.sign((a[ap] - b[ap]) * (a["pd_loss_test"] - b["pd_loss_test"]))
        for (_, a), (_, b) in itertools.combinations(table.iterrows(), 2)
        if all(a[name] == b[name] for name in apart)
    ]
    return int(sum(agree)), len(agree)


@pytest.mark.parametrize(("compared", "apart"), [("all", []), ("methods", ["level"]), ("levels", ["method"])])
def test_concordance_is_that_of_counted_pairs(found: Claims, records: pd.DataFrame, compared: str, apart: list[str]):
    for claim in found.concordance:
        if (claim.compared, claim.where) == (compared, ""):
            score, pairs = net_agreement(wide(records, claim.epoch), claim.ap, ["trial", *apart])
            assert claim.concordance.tau == pytest.approx(score / pairs, rel=1e-14)  # no ties, so τ-b is this ratio
            assert claim.concordance.clusters == len(TRIALS)


def test_each_level_and_method_is_told_apart(found: Claims, records: pd.DataFrame):
    told = {(c.compared, c.where) for c in found.concordance if c.where}
    levels = {("methods", "30 %"), ("methods", "50 %"), ("methods", "80 %")}
    assert told == levels | {("levels", method) for method in METHODS}
    (claim,) = [c for c in found.concordance if (c.where, c.ap, c.epoch) == ("highest", "ap2", 1)]
    rows = wide(records, 1).xs("highest", level="method")
    score, pairs = net_agreement(rows, "ap2", ["trial"])
    assert claim.concordance.tau == pytest.approx(score / pairs, rel=1e-14)


def test_contrasts_hold_every_pair_once(found: Claims, records: pd.DataFrame):
    assert {(c.ap, c.pd, c.epoch) for c in found.contrasts} == {
        (ap, "pd_loss_test", epoch) for ap in NAMES[:3] for epoch in EPOCHS
    }
    for contrasts in found.contrasts:
        assert sum(b.pairs for b in contrasts.bins) == len(TRIALS) * 36  # 36 pairs of 9 networks
        score, pairs = net_agreement(wide(records, contrasts.epoch), contrasts.ap, ["trial"])
        agreeing = sum(b.pairs * (b.concordant or 0) for b in contrasts.bins)
        assert agreeing == pytest.approx((score + pairs) / 2)


def test_every_ap3_is_held_against_ap2(found: Claims, records: pd.DataFrame):
    assert {(t.first, t.second) for t in found.tests} == {(ap3, "ap2") for ap3 in NAMES[1:3]}
    assert next((t.question, t.first, t.second) for t in found.effects) == ("grouping", NAMES[2], NAMES[1])
    for test in found.tests:
        table = wide(records, test.epoch)
        scores = {ap: net_agreement(table, ap, ["trial", "level"]) for ap in (test.first, test.second)}
        difference = (scores[test.first][0] - scores[test.second][0]) / scores[test.second][1]
        assert test.over_cells.difference == pytest.approx(difference, rel=1e-13, abs=1e-15)
        assert (test.over_cells.units, test.over_trials.units) == (27, 3)
        signs = test.over_cells.signs
        assert signs.better + signs.worse + signs.tied == len(TRIALS) * len(LEVELS)
        if signs.better + signs.worse:
            assert signs.p == pytest.approx(stats.binomtest(signs.better, signs.better + signs.worse).pvalue)
        assert signs.p <= test.p_adjusted <= 1


def test_conceded_failures_are_counted_over_trials_and_epochs(found: Claims, records: pd.DataFrame):
    for failure in found.failures:
        wrong = 0
        for epoch, trial in itertools.product(EPOCHS, TRIALS):
            table = wide(records, epoch).xs(trial, level="trial")
            if failure.claim.startswith("lowest"):
                compared = [(("lowest", 0.5), ("lowest", 0.3))]
            else:
                compared = [(("highest", 0.8), ("lowest", 0.8)), (("highest", 0.8), ("random", 0.8))]
            for a, b in compared:
                one, other = table.loc[a], table.loc[b]
                wrong += (one[failure.ap] > other[failure.ap]) != (one["pd_loss_test"] > other["pd_loss_test"])
        assert failure.pairs == len(EPOCHS) * len(TRIALS) * (1 if failure.claim.startswith("lowest") else 2)
        assert (failure.discordant, failure.found) == (wrong, wrong > 0)


def test_the_same_records_give_the_same_claims(found: Claims, records: pd.DataFrame):
    again = claims(records.sample(frac=1, random_state=1), ("pd_loss_test", "pd_loss_train"))
    key = msgspec.json.encode
    assert sorted(map(key, again.concordance)) == sorted(map(key, found.concordance))


def test_what_was_not_measured_has_no_answer(records: pd.DataFrame):
    holed = records[(records.method != "lowest") & (records.trial == 1) & (records.epoch == 0)]
    lowest = [f for f in claims(holed).failures if f.claim.startswith("lowest")]
    assert [(f.pairs, f.found) for f in lowest] == [(0, None)] * 3


def test_a_sampled_divergence_below_zero_is_no_contrast_and_no_error(records: pd.DataFrame):
    noisy = records.copy()
    sampled = noisy["metric"] == "ap3_student_t"
    noisy.loc[sampled, "value"] -= noisy.loc[sampled, "value"].median()
    (bins,) = [c.bins for c in claims(noisy, ("pd_loss_test",)).contrasts if (c.ap, c.epoch) == ("ap3_student_t", 1)]
    # Half of the values are 0 or less: with each other they have no ratio above 1, with the rest an infinite one.
    assert sum(found.pairs for found in bins) > 0


def test_all_tables_at_once_are_those_of_each_epoch(records: pd.DataFrame):
    holed = records[(records.trial != 2) | (records.method != "lowest") | (records.epoch == 1)]
    found = tables_of(holed)
    assert list(found) == [("last", 0), ("last", 1)]
    for (scope, epoch), table in found.items():
        pd.testing.assert_frame_equal(table, cases_at(holed, scope, epoch), check_names=False)
    assert found["last", 0]["ap2"].isna().sum() == len(LEVELS)
