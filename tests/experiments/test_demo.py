"""The demo: what it returns, on a study small enough for a test."""

import json

import msgspec
import pandas as pd
import pytest
import torch

from shrinkscope.experiments.agreement import agreements
from shrinkscope.experiments.demo import DEMO, DemoResult, run_demo
from shrinkscope.experiments.grid import dense_cells, pruned_cells
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.study import StudyError


@pytest.fixture(scope="module")
def result(tiny, tmp_path_factory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo"), workers=1, settings=msgspec.structs.replace(tiny, trials=2))


def records(result: DemoResult) -> pd.DataFrame:
    with Store(result.store, create=False) as store:
        return store.records(result.run)


def test_the_demo_is_the_papers_grid():
    assert (len(dense_cells(DEMO)), len(pruned_cells(DEMO)), DEMO.finetuning.epochs) == (3, 2 * 36, 20)
    assert (DEMO.methods, DEMO.levels) == (("lowest", "highest", "random"), (0.1, 0.3, 0.5, 0.8))
    assert (DEMO.minimum_accuracy, DEMO.dense_reference) == (0.97, "last")


def test_the_result_says_where_everything_is(result):
    assert result.store == result.out / "records.sqlite"
    assert len(list(result.networks.rglob("*.safetensors"))) == result.cells == 2 * (1 + 8)
    assert result.resumed == 0
    assert result.seconds > 0


def test_the_accuracies_are_those_of_the_dense_networks_in_order(result):
    table = records(result)
    for trial, accuracy in enumerate(result.accuracies, start=1):
        dense = table[(table["method"] == "dense") & (table["trial"] == trial) & (table["metric"] == "accuracy_test")]
        assert [accuracy] == list(dense["value"])
    assert len(result.accuracies) == 2


def test_conclusions_and_agreements_come_from_the_records(result):
    assert list(result.agreements) == agreements(records(result))
    assert len(result.conclusions) == 3
    assert all(sentence.endswith(".") for sentence in result.conclusions)
    assert "After 2 epochs of fine-tuning" in result.conclusions[0]


def test_the_result_becomes_json(result):
    plain = json.loads(result.to_json())
    assert set(plain) == set(DemoResult.__struct_fields__)
    assert (plain["run"], plain["store"]) == (result.run, str(result.store))
    assert plain["agreements"][0]["concordance"]["tau"] == result.agreements[0].concordance.tau


def test_a_second_call_computes_nothing_and_says_the_same(result):
    threads = torch.get_num_threads()
    again = run_demo(result.out, settings=_study(result))
    assert again.resumed == again.cells == result.cells
    same = ("out", "store", "run", "networks", "accuracies", "agreements", "conclusions")
    assert [getattr(again, name) for name in same] == [getattr(result, name) for name in same]
    assert torch.get_num_threads() == threads


def _study(result: DemoResult):
    with Store(result.store, create=False) as store:
        (run,) = store.runs()
    return msgspec.json.decode(run.config, type=type(DEMO))


def test_a_network_that_does_not_learn_stops_the_demo(tiny, tmp_path):
    with pytest.raises(StudyError, match="below the 97 % that the study requires"):
        run_demo(tmp_path, workers=1, settings=msgspec.structs.replace(tiny, minimum_accuracy=0.97))
