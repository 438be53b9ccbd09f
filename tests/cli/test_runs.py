"""``shrinkscope runs``: one run, two runs, and what goes into files."""

import json

import pandas as pd
import pytest

from commands import command
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.store import Run, Store

run = command("runs")


@pytest.fixture
def folder(tmp_path):
    """A store of two runs that differ in a setting; the second could not measure its AP3."""
    with Store(tmp_path / "records.sqlite") as store:
        for place, key in enumerate(("one", "two")):
            config = json.dumps({"name": "small", "training": {"epochs": 2 + place}})
            store.begin(
                Run(
                    run=key,
                    config_hash=key,
                    config=config,
                    versions="{}",
                    seed=1,
                    hardware="here",
                    started=f"202{place}",
                )
            )
            for trial in (1, 2):
                values = {"pd_loss_test": trial * (1.0 + place), "ap3_gaussian": None if place else 0.5}
                records = [
                    Record(
                        epoch=4, layer="", metric=metric, value=value, unit="nats", status="exact", reason="infinite"
                    )
                    for metric, value in values.items()
                ]
                store.write_cell(key, Cell(trial=trial, scope="last", method="lowest", level=0.3), records, seconds=1.0)
        store.begin(
            Run(run="new", config_hash="n", config="{}", versions="{}", seed=1, hardware="here", started="2025")
        )
    return tmp_path


def test_runs_are_listed_from_the_folder_of_the_store(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, str(folder))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "one  small: 2 cells finished, begun 2020 on here",
        "two  small: 2 cells finished, begun 2021 on here",
        "new  unnamed: 0 cells finished, begun 2025 on here",
    ]
    assert run(monkeypatch, capsys, str(folder), "--run", "two")[1].count("\n") == 1


def test_two_runs_are_compared(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, str(folder), "--compare", "one", "two")
    assert (code, err) == (0, "")
    # Trials 1 and 2 against 2 and 4: means 1.5 and 3, variances of the means 0.5 / 2 and 2 / 2.
    assert out.splitlines() == [
        "training.epochs: 2 → 3",
        "epoch 4  last lowest 30 %  ap3_gaussian: 0.5 → not measured",
        "epoch 4  last lowest 30 %  pd_loss_test: 1.5 → 3 (+1.5 ± 1.1)",
    ]
    found = json.loads(run(monkeypatch, capsys, str(folder), "--compare", "one", "two", "--json")[1])
    assert (found["settings"], found["epoch"]) == ({"training.epochs": [2, 3]}, 4)
    assert [row["difference"] for row in found["rows"]] == [None, 1.5]
    same = run(monkeypatch, capsys, str(folder), "--compare", "one", "one")[1]
    assert same.startswith("the settings are the same\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compare", "one", "three"), "records.sqlite holds no run three; it holds one, two, new"),
        (("--compare", "one", "new"), "run new has no finished fine-tuning; run the study first"),
        (("--export", "records.xls"), "cannot export to records.xls: unknown suffix '.xls'; expected .parquet or .csv"),
        (("--export", "records.csv", "--run", "three"), "records.sqlite holds no run three; it holds one, two, new"),
    ],
)
def test_what_cannot_be_is_one_line(folder, arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, str(folder), *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(f"{message}\n")
    assert not list(tmp_path.glob("records.[xc]*"))


@pytest.mark.parametrize(("name", "read"), [("r.csv", pd.read_csv), ("r.parquet", pd.read_parquet)])
def test_one_run_or_all_go_into_a_file(folder, name, read, monkeypatch, capsys):
    file = folder / name
    assert f"records written to {file}" in run(monkeypatch, capsys, str(folder), "--export", str(file))[1]
    assert sorted(read(file)["run"]) == ["one"] * 4 + ["two"] * 4
    run(monkeypatch, capsys, str(folder), "--export", str(file), "--run", "two")
    table = read(file)
    assert set(table["run"]) == {"two"}
    assert table["value"].isna().sum() == 2


def test_some_metrics_and_totals_alone_go_into_a_file(folder, monkeypatch, capsys):
    file = folder / "r.parquet"
    with Store(folder, create=False) as store:
        metric = store.records()["metric"].iloc[0]
    run(monkeypatch, capsys, str(folder), "--export", str(file), "--metric", metric, "--totals")
    table = pd.read_parquet(file)
    assert (set(table["metric"]), set(table["layer"])) == ({metric}, {""})
