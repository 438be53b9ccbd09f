"""``shrinkscope diff`` in a pipeline: gates and their exit codes, groups, and the files that they are written to."""

import json

import pandas as pd
import pytest
import torch

from commands import command
from shrinkscope.weights import save_tensors

run = command("diff")


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    """Two blocks; relative AP2 of the down projections is 1/4 and 1/25, of the gates 0."""
    dense = {
        "layers.0.mlp.down_proj.weight": torch.tensor([[3.0, 4.0]]),
        "layers.1.mlp.down_proj.weight": torch.tensor([[6.0, 8.0]]),
        "layers.0.mlp.gate_proj.weight": torch.ones(2, 2),
        "layers.1.mlp.gate_proj.weight": torch.ones(2, 2),
    }
    compressed = dense | {
        "layers.0.mlp.down_proj.weight": torch.tensor([[3.0, 5.0]]),
        "layers.1.mlp.down_proj.weight": torch.tensor([[6.0, 3.0]]),
    }
    save_tensors(tmp_path / "dense.safetensors", dense)
    save_tensors(tmp_path / "compressed.safetensors", compressed)
    return str(tmp_path / "dense.safetensors"), str(tmp_path / "compressed.safetensors")


def test_a_gate_that_fails_names_the_rows_and_ends_with_one(files, monkeypatch, capsys):
    rules = ("--fail-if", "relative_ap2 > 0.02 in *.down_proj", "--fail-if", "relative_ap2 > 0 in *.gate_proj")
    code, out, err = run(monkeypatch, capsys, *files, *rules)
    assert code == 1
    assert "Damage by layer" in out
    assert err.splitlines() == [
        "gate failed: relative_ap2 > 0.02 in *.down_proj: 2 of 2 rows: layers.1.mlp.down_proj.weight (0.2500), "
        "layers.0.mlp.down_proj.weight (0.04000)",
        "gate passed: relative_ap2 > 0 in *.gate_proj (2 rows)",
    ]


def test_a_gate_that_passes_ends_with_zero(files, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, *files, "--fail-if", "relative_ap2 > 50% in total")
    assert (code, err) == (0, "gate passed: relative_ap2 > 50% in total (1 row)\n")


def test_json_has_the_gates_and_the_groups(files, monkeypatch, capsys):
    arguments = ("--json", "--group-by", "role", "--fail-if", "relative_ap2 > 0.1 in role", "--latent", "gaussian")
    code, out, err = run(monkeypatch, capsys, *files, *arguments)
    found = json.loads(out)
    assert code == 1
    assert err.startswith("gate failed: ")
    assert [row["group"] for row in found["groups"]["rows"]] == ["mlp.down_proj", "mlp.gate_proj"]
    assert found["groups"]["rows"][0]["relative_ap2"] == 26 / 125
    assert found["gates"] == [
        {
            "rule": "relative_ap2 > 0.1 in role",
            "passed": False,
            "checked": 2,
            "ignored": 0,
            "failures": [{"name": "mlp.down_proj", "value": 26 / 125, "reason": None}],
        }
    ]


def test_files_are_written_although_a_gate_fails(files, tmp_path, monkeypatch, capsys):
    for name in ("groups.csv", "groups.parquet", "report.html"):
        arguments = ("--group-by", "block", "--out", str(tmp_path / name), "--fail-if", "ap2 > 1")
        assert run(monkeypatch, capsys, *files, *arguments)[0] == 1
    # The most damaged first.
    assert list(pd.read_csv(tmp_path / "groups.csv")["group"]) == ["layers.1", "layers.0", "all measured layers"]
    assert list(pd.read_parquet(tmp_path / "groups.parquet")["ap2"]) == [25.0, 1.0, 26.0]
    assert "failed: ap2 &gt; 1" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_groups_are_shown_on_the_terminal(files, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, *files, "--group-by", "block", "--top", "1", "--sort", "snr_db")
    assert code == 0
    assert "Damage by block (1 of 2 blocks)" in out
    rows = [line for line in out.splitlines() if line.startswith(" layers.")]
    assert len(rows) == 1
    assert rows[0].startswith(" layers.1 ")


def test_include_is_another_name_of_layers(files, monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, *files, "--include", "*.down_proj.*", "--exclude", "layers.0.*", "--json")
    assert [row["layer"] for row in json.loads(out)["rows"]] == ["layers.1.mlp.down_proj.weight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-if", "relativ_ap2 > 1"], "character 1: no column 'relativ_ap2' (did you mean 'relative_ap2'?)"),
        (["--fail-if", "ap3_uniform > 1", "--latent", "gaussian"], "no column 'ap3_uniform'"),
        (["--fail-if", "relative_ap2 > 1 in *.up_proj"], "is about no row: no name matches '*.up_proj'"),
        (["--group-by", "blocks"], "cannot group by 'blocks'; did you mean 'block'?"),
    ],
)
def test_a_wrong_rule_is_an_error_and_not_a_failed_gate(files, monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, *files, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("shrinkscope: ")
    assert message in err
    assert err.count("\n") == 1
