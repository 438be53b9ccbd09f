"""``shrinkscope blocks`` as its users meet it."""

import json

import numpy as np
import pytest
import torch

from commands import command
from shrinkscope.analysis.plan import Plan
from shrinkscope.weights import open_weights
from tiny_checkpoints import saved, token_ids

run = command()


@pytest.fixture
def net(tmp_path):
    saved(tmp_path / "net", dtype=torch.float32, num_hidden_layers=2)
    np.save(tmp_path / "tokens.npy", token_ids(6).numpy().astype(np.uint16))
    np.save(tmp_path / "others.npy", token_ids(5, seed=1).numpy().astype(np.int32))
    return tmp_path


def test_plan_prune_and_perplexity(net, monkeypatch, capsys):
    options = ["--inputs", net / "tokens.npy", "--sparsity", 0.5, "--rounds", 2, "--keep", "*.v_proj.weight"]
    code, out, err = run(monkeypatch, capsys, "blocks", "plan", net / "net", *options, "--out", net / "plan.toml")
    assert (code, err) == (0, "")
    assert "joint: remove" in out
    assert "forward-equivalents" in out
    made = Plan.load(net / "plan.toml")
    assert made.sparsity == pytest.approx(0.5, abs=0.5 / made.weights)
    assert not any("v_proj" in row.layer for row in made.rows)
    options = ["--inputs", net / "tokens.npy", "--held-out", net / "others.npy", "--out", net / "out"]
    code, out, err = run(monkeypatch, capsys, "blocks", "prune", net / "net", net / "plan.toml", *options)
    assert (code, err) == (0, "")
    assert f"{made.removed:,} of {made.weights:,} planned weights are zero (50.0 %), within: swept." in out
    assert "Perplexity before: " in out
    assert "(5 sequences of 9 predicted tokens)" in " ".join(out.split())
    zeros = {name: int((view.read() == 0).sum()) for name, view in open_weights(net / "out").items()}
    assert all(zeros[row.layer] == row.removed for row in made.rows)
    code, out, err = run(monkeypatch, capsys, "blocks", "perplexity", net / "out", "--inputs", net / "others.npy")
    assert (code, err) == (0, "")
    assert out.startswith("Perplexity ")


def test_json_and_a_plan_from_the_weights_alone(net, monkeypatch, capsys):
    options = ["--sparsity", 0.3, "--allocation", "uniform", "--json", "--out", net / "plan.json"]
    code, out, err = run(monkeypatch, capsys, "blocks", "plan", net / "net", *options)
    assert (code, err) == (0, "")
    assert len(json.loads(out)["rows"]) == 14
    options = ["--inputs", net / "tokens.npy", "--out", net / "out", "--within", "magnitude", "--json"]
    code, out, err = run(monkeypatch, capsys, "blocks", "prune", net / "net", net / "plan.json", *options)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [block["block"] for block in found["pruned"]["blocks"]] == [0, 1]
    assert found["before"] is None
    code, out, _ = run(
        monkeypatch, capsys, "blocks", "perplexity", net / "net", "--inputs", net / "others.npy", "--json"
    )
    assert (code, len(json.loads(out)["losses"])) == (0, 5)


def test_errors_are_one_line(net, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "blocks", "plan", net / "net", "--sparsity", 0.5)
    assert (code, out) == (2, "")
    assert err.startswith("shrinkscope: allocation 'joint' needs tokens")
    assert err.count("\n") == 1
    code, _, err = run(monkeypatch, capsys, "blocks", "perplexity", net, "--inputs", net / "others.npy")
    assert (code, err.count("\n")) == (2, 1)
    assert "config.json: no such file" in err
