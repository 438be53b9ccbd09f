"""``shrinkscope claims``: what a small study that was really carried out says, in brief, in full and as JSON."""

import json
import sys
import time
from pathlib import Path

import pytest

from shrinkscope.cli import main
from shrinkscope.experiments.claims import claims
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.records import Run
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import carry_out
from shrinkscope.report.format import number

STUDY = Study(
    name="small",
    training=Training(epochs=3, learning_rate=0.1),
    finetuning=Training(epochs=2, learning_rate=0.05),
    trials=2,
    methods=("lowest", "highest", "random"),
    levels=(0.3, 0.8),
    latents=("gaussian", "student_t_grouped"),
    path="features",
    iterations=False,
    evaluated_samples=200,
    predictive_samples=100,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    assert carry_out([plan_study(STUDY, folder)], workers=1, stop=True) == []
    with Store(folder / "records.sqlite") as store:
        empty = {"config_hash": "n", "config": '{"name": "begun"}', "versions": "{}", "seed": 1, "hardware": "here"}
        store.begin(Run(run="begun", started="2100", **empty))
    return folder


def said(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.delenv("COLUMNS", raising=False)  # a file has no width, and the workers of the tests have one
    monkeypatch.setattr(sys, "argv", ["shrinkscope", "claims", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert (stop.value.code or 0, err) == (0, "")
    return out


def test_in_brief_it_is_conclusions_and_one_table(folder, monkeypatch, capsys):
    lines = said(monkeypatch, capsys, str(folder)).splitlines()
    assert lines[0] == "begun: no pruned network is finished"
    assert "Does AP3 as in the paper add information to AP2?" in lines
    assert "Does the predictive latent?" in lines
    assert "And over methods and levels together?" in lines
    (head,) = [place for place, line in enumerate(lines) if line.split()[:3] == ["study", "pruned", "AP"]]
    rows = [line for line in lines[head + 1 :] if line.split()[:1] == ["small"]]
    with Store(folder, create=False) as store:
        found = claims(store.records(store.runs()[0].run))
    last = [c for c in found.concordance if (c.compared, c.where, c.epoch) == ("methods", "", 2)]
    assert len(rows) == len({claim.ap for claim in last}) == 4
    (ap2,) = [c.concordance for c in last if (c.ap, c.pd) == ("ap2", "pd_loss_test")]
    # Two trials have no interval; what stands there instead is their range.
    assert ap2.lower is None
    assert f"{number(ap2.tau, 2)} ({number(ap2.least, 2)} to {number(ap2.most, 2)})" in rows[0]
    assert "too few trials for an interval" in " ".join(lines)
    assert len(lines) < 40


def test_in_full_it_has_every_table(folder, monkeypatch, capsys):
    run = Store(folder, create=False).runs()[0].run
    text = said(monkeypatch, capsys, str(folder), "--all", "--run", run)
    assert text.startswith(f"{run}: ")
    for title in (
        "Kendall's τ of AP with PD after epoch 2",
        "Pairs that AP and PD order alike, by ratio of the APs, epoch 2",
        "Does AP3 add to AP2?",
        "Failures that the text concedes (all epochs)",
    ):
        assert title in text
    assert "begun" not in text


def test_as_json_it_is_what_the_function_finds(folder, monkeypatch, capsys):
    found = json.loads(said(monkeypatch, capsys, str(folder), "--json"))
    with Store(folder, create=False) as store:
        (run, begun) = store.runs()
        expected = claims(store.records(run.run))
    assert list(found) == [run.run, begun.run]
    assert all(len(rows) == 0 for rows in found[begun.run].values())
    own = found[run.run]
    assert {name: len(rows) for name, rows in own.items()} == {
        name: len(getattr(expected, name)) for name in expected.__struct_fields__
    }
    taus = [(claim.ap, claim.pd, claim.epoch, claim.concordance.tau) for claim in expected.concordance]
    assert [(c["ap"], c["pd"], c["epoch"], c["concordance"]["tau"]) for c in own["concordance"]] == taus


def test_a_store_without_runs_says_so(tmp_path, monkeypatch, capsys):
    Store(tmp_path / "records.sqlite").close()
    assert said(monkeypatch, capsys, str(tmp_path)) == "the store holds no run\n"


def test_all_claims_of_a_grid_take_seconds(folder):
    """The paper's grid has 21 epochs of 36 networks: eight times what is here, and 25 s in processor time at most."""
    with Store(folder, create=False) as store:
        records = store.records(store.runs()[0].run, totals=True)
    started = time.process_time()
    claims(records)
    assert time.process_time() - started < 3
