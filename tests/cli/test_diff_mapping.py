"""diff of networks that are not written alike: the options, and what is said."""

import json
import sys

import pytest
import torch

from shrinkscope.cli import main


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shrinkscope", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    output = capsys.readouterr()
    return int(exit_.value.code or 0), output.out, output.err


@pytest.fixture
def dense(tmp_path):
    generator = torch.Generator().manual_seed(3)
    shapes = {f"l.{part}_proj.weight": (6, 20) for part in "qkv"} | {"fc.weight": (12, 20)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(tensors, tmp_path / "a.pt")
    return tensors


def test_rules_kept_and_heads_reach_the_comparison(dense, tmp_path, monkeypatch, capsys):
    heads = [dense[f"l.{part}_proj.weight"].view(3, 2, 20) for part in "qkv"]
    fused = torch.cat(heads, dim=1).reshape(18, 20)
    torch.save({"l.query_key_value.weight": fused, "out.weight": dense["fc.weight"][[7, 0, 5]]}, tmp_path / "b.pt")
    (tmp_path / "kept.json").write_text('{"fc": [7, 0, 5]}')
    (tmp_path / "rules.toml").write_text("[[rename]]\npattern = '^out\\.'\nreplacement = 'fcc.'\n")
    files = (str(tmp_path / "a.pt"), str(tmp_path / "b.pt"))
    options = ("--rules", str(tmp_path / "rules.toml"), "--rename", "^fcc=fc", "--kept", str(tmp_path / "kept.json"))
    code, out, _ = run(monkeypatch, capsys, "diff", *files, *options, "--heads", "3", "--json")
    assert code == 0
    found = json.loads(out)
    rows = {row["layer"]: row for row in found["rows"]}
    assert {name: rows[name]["changed"] for name in dense} == {name: 0 if "l." in name else 180 for name in dense}
    assert rows["fc.weight"]["sparsity"] == 0.75
    assert [m["kind"] for m in found["unpaired"]] == ["mapped"] * 4


def test_a_wrong_renaming_is_one_line(dense, tmp_path, monkeypatch, capsys):
    files = (str(tmp_path / "a.pt"), str(tmp_path / "a.pt"))
    code, _, err = run(monkeypatch, capsys, "diff", *files, "--rename", "abc")
    assert code == 2
    assert "expected PATTERN=REPLACEMENT" in err
