"""``shrinkscope run`` without training: what it plans, what it refuses."""

import json
import sys

import pytest

from shrinkscope.cli import main

STUDY = """
name = "small"
scopes = ["last"]
trials = 1
[training]
epochs = 2
[finetuning]
epochs = 3
"""


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shrinkscope", "run", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return str(path)


def test_a_dry_run_says_what_it_costs_and_writes_nothing(study, tmp_path, monkeypatch, capsys):
    out = tmp_path / "runs"
    code, said, _ = run(monkeypatch, capsys, study, "--dry-run", "--out", str(out), "--device", "cpu")
    assert code == 0
    # 1,437 digits are 12 batches of 128: two epochs of one network, three of twelve; 1,797 samples measured once for
    # the dense network, four times for each pruned one.
    assert "0 of 13 cells done; left: 1 dense networks and 12 fine-tunings on 1,437 samples, 456 steps" in said
    assert f"{1797 * (1 + 12 * 4):,} evaluations of a sample; time unknown" in said
    assert "13 cells in 1 studies, 13 left" in said
    assert not out.exists()
    found = json.loads(run(monkeypatch, capsys, study, "--dry-run", "--json", "--out", str(out))[1])
    assert (found["studies"][0]["steps"], found["broken"]) == (456, {})


def test_a_typo_is_answered_with_the_fields(study, tmp_path, monkeypatch, capsys):
    typo = tmp_path / "typo.toml"
    typo.write_text("sigmaa = 1.0\n" + STUDY)
    code, _, err = run(monkeypatch, capsys, str(typo), "--dry-run")
    assert code == 2
    assert "unknown field `sigmaa`; the fields are name, finetuning" in err
    # Among several it stops no other.
    code, said, _ = run(monkeypatch, capsys, str(typo), study, "--dry-run", "--out", str(tmp_path / "runs"))
    assert code == 0
    assert f"{typo}: cannot begin" in said
    assert "13 cells in 1 studies" in said


def test_the_shipped_studies_are_listed(monkeypatch, capsys):
    code, said, _ = run(monkeypatch, capsys, "--list")
    assert code == 0
    assert "resnet50-cifar100-released" in said.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no study; give a .toml file, or one of alexnet-cifar10"),
        (("digits", "--device", "tpu"), "--device tpu: expected auto, cpu or cuda"),
        (("resnet50-cifar10", "--dry-run"), "where the images of CIFAR10 in an official layout"),
        (("resnet50-cifar10", "--dry-run", "--data", "none"), "none: no such folder; expected images of CIFAR10"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_without_a_gpu_cuda_is_refused(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = run(monkeypatch, capsys, "digits", "--device", "cuda")
    assert (code, "torch finds no GPU here; give --device cpu" in err) == (2, True)
