"""``shrinkscope plan`` and ``shrinkscope prune`` as their users meet them."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from shrinkscope.analysis.plan import Plan, plan
from shrinkscope.cli import main
from shrinkscope.experiments.digits import DigitsNet
from shrinkscope.weights import save_tensors


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "digits.safetensors", DigitsNet().state_dict())
    return str(tmp_path / "digits.safetensors")


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call in this process."""
    monkeypatch.setattr(sys, "argv", ["shrinkscope", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_a_plan_is_made_written_and_applied(weights, tmp_path, monkeypatch, capsys):
    file, pruned = str(tmp_path / "plan.toml"), str(tmp_path / "pruned.safetensors")
    options = ["--network", "digits", "--inputs", "digits", "--count", "32", "--sparsity", "0.6", "--budget", "100"]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options, "--keep", "conv1*", "--out", file)
    assert (code, err) == (0, "")
    for text in ("How much of each layer to remove", "milder and harsher", "joint: remove", "forward-equivalents"):
        assert text in out
    made = Plan.load(file)
    assert made.sparsity == pytest.approx(0.6, abs=0.5 / made.weights)
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, "--out", pruned)
    assert (code, err) == (0, "")
    assert f"{made.removed:,} of {made.weights:,} planned weights are zero (60.0 %)" in out
    before, after = load_file(weights), load_file(pruned)
    assert before.keys() == after.keys()
    planned = {row.layer: row.removed for row in made.rows}
    for name, tensor in after.items():
        if name in planned:
            assert int((tensor == 0).sum()) == planned[name]
        else:
            assert torch.equal(tensor, before[name])


def test_json_is_what_the_function_returns(weights, monkeypatch, capsys):
    options = ["--network", "digits", "--sparsity", "0.5", "--allocation", "lamp", "--json"]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options)
    assert (code, err) == (0, "")
    torch.manual_seed(0)
    assert json.loads(out) == json.loads(plan(DigitsNet(), sparsity=0.5, allocation="lamp").to_json())


def test_mistakes_are_one_line(weights, tmp_path, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "plan", weights, "--network", "digits", "--sparsity", "0.5", "--shape", "x")
    assert (code, err) == (2, "shrinkscope: --shape x: expected whole numbers such as 3,32,32\n")
    code, _, err = run(monkeypatch, capsys, "prune", weights, "plan.toml", "--out", str(tmp_path / "out.pt"))
    assert code == 2
    assert "unknown suffix; expected .safetensors" in err
