"""Two runs of a store beside each other, against the same numbers worked out by hand."""

import json
import math
import re

import pytest

from shrinkscope.errors import StoreError
from shrinkscope.experiments.compared_runs import compare_runs
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.store import Run, Store


def begin(store: Store, key: str, config: dict, versions: dict) -> None:
    settings = {"config": json.dumps(config), "versions": json.dumps(versions)}
    store.begin(Run(run=key, config_hash=key, seed=1, hardware="here", started="2026", **settings))


def write(store: Store, key: str, trial: int, values: dict[int, float | None], level: float = 0.3) -> None:
    """A pruned cell whose PD at each epoch is given; AP2 is twice that, and a layer has rows of its own."""
    records = []
    for epoch, value in values.items():
        for layer, metric, factor in (("", "pd_loss_test", 1.0), ("", "ap2", 2.0), ("fc.weight", "ap2", 9.0)):
            found = None if value is None else factor * value
            reason = "not finite" if value is None else None
            records.append(
                Record(epoch=epoch, layer=layer, metric=metric, value=found, unit="u", status="exact", reason=reason)
            )
    store.write_cell(key, Cell(trial=trial, scope="last", method="lowest", level=level), records, seconds=1.0)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "records.sqlite") as opened:
        begin(opened, "one", {"name": "a", "training": {"epochs": 3, "momentum": 0.9}}, {"torch": "2.9"})
        begin(opened, "two", {"name": "a", "training": {"epochs": 5, "momentum": 0.9}}, {"torch": "2.9", "data": "d"})
        yield opened


def rows(found) -> dict[tuple[float, str], dict]:
    return {(row["level"], row["metric"]): row for row in found.rows}


def test_means_differences_and_errors_are_those_of_the_trials(store):
    for trial, value in enumerate((1.0, 2.0, 6.0), start=1):
        write(store, "one", trial, {0: 99.0, 3: value})
    for trial, value in enumerate((4.0, 8.0), start=1):
        write(store, "two", trial, {0: 99.0, 3: value, 5: 77.0})
    found = compare_runs(store, "one", "two")
    assert (found.first, found.second, found.epoch) == ("one", "two", 3)  # the last that both have
    assert set(rows(found)) == {(0.3, "pd_loss_test"), (0.3, "ap2")}  # the network's, no layer's
    row = rows(found)[0.3, "pd_loss_test"]
    assert (row["scope"], row["method"], row["first"], row["second"], row["difference"]) == (
        "last",
        "lowest",
        3.0,
        6.0,
        3.0,
    )
    # Sample variances 7 over three trials and 8 over two.
    assert row["standard_error"] == pytest.approx(math.sqrt(7 / 3 + 8 / 2), rel=1e-12)
    assert rows(found)[0.3, "ap2"]["difference"] == 6.0


def test_settings_and_versions_that_differ_are_named_and_no_others(store):
    for key in ("one", "two"):
        write(store, key, 1, {0: 1.0})
    found = compare_runs(store, "one", "two")
    assert found.settings == {"training.epochs": (3, 5), "data": (None, "d")}
    assert compare_runs(store, "one", "one").settings == {}


def test_one_trial_has_no_error_and_what_is_in_one_run_alone_is_left_out(store):
    write(store, "one", 1, {0: 1.0})
    write(store, "one", 1, {0: 5.0}, level=0.8)
    write(store, "two", 1, {0: 2.0})
    found = compare_runs(store, "one", "two")
    assert {level for level, _ in rows(found)} == {0.3}
    assert rows(found)[0.3, "ap2"]["standard_error"] is None
    assert rows(found)[0.3, "ap2"]["difference"] == 2.0


def test_what_could_not_be_measured_makes_no_difference_of_zero(store):
    write(store, "one", 1, {0: None})
    write(store, "two", 1, {0: 2.0})
    row = rows(compare_runs(store, "one", "two"))[0.3, "pd_loss_test"]
    assert (row["first"], row["difference"], row["standard_error"]) == (None, None, None)
    assert row["second"] == 2.0


def test_runs_that_cannot_be_compared_are_one_line(store):
    write(store, "one", 1, {0: 1.0})
    with pytest.raises(StoreError, match=re.escape("run two has no finished fine-tuning; run the study first")):
        compare_runs(store, "one", "two")
    with pytest.raises(StoreError, match="holds no run three; it holds one, two"):
        compare_runs(store, "one", "three")
