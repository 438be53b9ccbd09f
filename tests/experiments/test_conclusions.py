"""The conclusions follow the numbers, whichever way the numbers fall."""

import itertools
import math
import re
from collections.abc import Callable

import pandas as pd
import pytest
import torch
from scipy import stats

from shrinkscope.experiments.agreement import advantage, agreements, aps_in, cases_at
from shrinkscope.experiments.conclusions import conclusions

METHODS, LEVELS, SCOPES = ("lowest", "random", "highest"), (0.1, 0.3, 0.5, 0.8), ("last", "all")
Measure = Callable[[int, float, torch.Generator], tuple[float, float, float]]


def table(measure: Measure, trials: int = 3) -> pd.DataFrame:
    """Records in which ``measure(method number, level, generator)`` says AP2, AP3 and PD of a network."""
    generator = torch.Generator().manual_seed(5)
    rows = []
    for trial, scope, (number, method), level, epoch in itertools.product(
        range(1, trials + 1), SCOPES, enumerate(METHODS), LEVELS, (0, 20)
    ):
        ap2, ap3, pd_loss = measure(number, level, generator)
        values = {"ap2": ap2, "ap3_gaussian": ap3, "pd_loss_test": pd_loss, "pd_accuracy_test": pd_loss / 10}
        rows += [
            {"trial": trial, "scope": scope, "method": method, "level": level, "epoch": epoch, "layer": ""}
            | {"metric": name, "value": value}
            for name, value in values.items()
        ]
        rows.append(
            rows[-4] | {"layer": "head.weight", "value": -1.0}
        )  # a layer's own AP must not be mistaken for the sum
    dense = rows[0] | {"trial": 1, "scope": "", "method": "dense", "level": 0.0, "metric": "loss_test"}
    return pd.DataFrame([*rows, dense])


def perfect(number: int, level: float, _: torch.Generator) -> tuple[float, float, float]:
    order = 1 + number + 10 * level
    return order, 2 * order, 0.01 * order


def better(number: int, level: float, generator: torch.Generator) -> tuple[float, float, float]:
    order = 1 + number + 10 * level
    return float(torch.rand((), generator=generator)), order, 0.01 * order


def worse(number: int, level: float, generator: torch.Generator) -> tuple[float, float, float]:
    ap3, ap2, pd_loss = better(number, level, generator)
    return ap2, ap3, pd_loss


def noise(number: int, level: float, generator: torch.Generator) -> tuple[float, float, float]:
    draws = torch.rand(3, generator=generator).tolist()
    return draws[0], draws[1], draws[2]


def concluded(measure: Measure) -> tuple[str, str, str]:
    records = table(measure)
    return conclusions(records, agreements(records))


def test_tau_is_that_of_scipy_averaged_over_the_pairs_within_trials():
    records = table(noise)
    cases = cases_at(records, "all", 20)
    assert len(cases) == 36
    found = next(a for a in agreements(records) if (a.scope, a.epoch, a.ap, a.pd) == ("all", 20, "ap2", "pd_loss_test"))
    # Without ties every trial has as many pairs as another, so that the pooled τ is the mean of the trials' τ.
    by_trial = [stats.kendalltau(rows["ap2"], rows["pd_loss_test"]).statistic for _, rows in cases.groupby("trial")]
    assert found.concordance.tau == pytest.approx(sum(by_trial) / 3, rel=1e-12)


def test_every_ap_scope_epoch_and_pd_has_its_agreement():
    found = agreements(table(noise))
    assert len(found) == 2 * 2 * 2 * 2
    assert aps_in(table(noise)) == ["ap2", "ap3_gaussian"]


def test_perfect_agreement_fails_nowhere_and_tells_nothing_apart():
    first, second, third = concluded(perfect)
    assert first.startswith("After 20 epochs of fine-tuning, Kendall's τ")
    assert "over 36 pruned networks" in first
    assert "+1.00 [" in first
    assert "] for AP2, AP3 Gaussian, and with" in first  # one clause for equal values
    assert second.startswith("It fails nowhere here")
    assert third.startswith("No AP3 is told apart from AP2")


def test_a_better_and_a_worse_ap3_are_said_to_be_so():
    first, second, third = concluded(better)
    assert re.search(r"\+1\.00 \[[^;]*\] for AP3 Gaussian", first)
    assert "the starkest contradiction" in second
    assert third.startswith("Held against AP2 on the same networks, better order: AP3 Gaussian")
    assert concluded(worse)[2].startswith("Held against AP2 on the same networks, worse order: AP3 Gaussian")
    assert concluded(worse)[2].endswith("none is better.")


def test_the_starkest_contradiction_is_one_in_the_records():
    records = table(noise)
    second = conclusions(records, agreements(records))[1]
    cases = pd.concat([cases_at(records, scope, 20).assign(scope=scope) for scope in SCOPES])
    ratios = [
        b["ap2"] / a["ap2"]
        for _, group in cases.groupby(["scope", "trial"])
        for (_, a), (_, b) in itertools.permutations(group.iterrows(), 2)
        if a["ap2"] < b["ap2"] and a["pd_loss_test"] > b["pd_loss_test"]
    ]
    assert f"{max(ratios):.3g} times smaller" in second


def test_the_weakest_method_is_named():
    def only_lowest_fails(number: int, level: float, _: torch.Generator) -> tuple[float, float, float]:
        order = 1 + number + 10 * level
        return order, order, 0.01 * (20 - order if number == 0 else order)

    assert "over the levels of lowest pruning" in concluded(only_lowest_fails)[1]
    assert "(τ of AP2 −1.00)" in concluded(only_lowest_fails)[1]


def test_what_cannot_be_measured_is_said_to_be_so():
    def undefined(number: int, level: float, generator: torch.Generator) -> tuple[float, float, float]:
        ap2, _, pd_loss = noise(number, level, generator)
        return ap2, math.nan, pd_loss

    first, _, third = concluded(undefined)
    assert re.search(r"not measurable \([^;]*\) for AP3 Gaussian", first)
    assert third.startswith("Whether an AP3 foretells more than AP2 cannot be told")

    def constant(number: int, level: float, generator: torch.Generator) -> tuple[float, float, float]:
        return 1.0, 1.0, 0.5

    first, second, third = concluded(constant)
    assert re.search(r"not measurable \([^;]*\) for AP2, AP3 Gaussian", first)
    assert second.startswith("Where it fails cannot be told")
    assert third.startswith("Whether an AP3 foretells more")


def test_the_advantage_of_a_measure_over_itself_is_exactly_nothing():
    found = advantage(cases_at(table(noise), "all", 20), "all", "ap2", "ap2", "pd_loss_test", 0.95)
    assert found is not None
    assert (found.difference, found.lower, found.upper) == (0.0, 0.0, 0.0)
