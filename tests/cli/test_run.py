"""``shrinkscope run`` without training: what it plans, what it refuses."""

import json
import subprocess
import sys

import pytest

from commands import command

run = command("run")

STUDY = """
name = "small"
scopes = ["last"]
trials = 1
[training]
epochs = 2
[finetuning]
epochs = 3
"""


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


def test_a_dry_run_tells_last_layers_on_features_apart(study, tmp_path, monkeypatch, capsys):
    together = tmp_path / "together.toml"
    together.write_text('path = "features"\n' + STUDY)
    said = run(monkeypatch, capsys, str(together), "--dry-run", "--out", str(tmp_path / "runs"))[1]
    # The one dense network is trained whole: 2 epochs of 12 batches.
    assert (
        "12 of them last layers alone, on features computed once, 24 steps and 1,797 evaluations of a sample;" in said
    )
    trained = tmp_path / "trained.toml"
    trained.write_text('path = "features"\ntrained = "last"\n' + STUDY)
    said = run(monkeypatch, capsys, str(trained), "--dry-run", "--out", str(tmp_path / "runs"))[1]
    assert "13 of them last layers alone, on features computed once; time unknown" in said
    assert "steps" not in said


def test_a_typo_is_answered_with_the_fields(study, tmp_path, monkeypatch, capsys):
    typo = tmp_path / "typo.toml"
    typo.write_text("sigmaa = 1.0\n" + STUDY)
    code, _, err = run(monkeypatch, capsys, str(typo), "--dry-run")
    assert code == 2
    assert "unknown field `sigmaa`; the fields are name, finetuning" in err
    # Among several it stops no other, and is told in the exit code.
    code, said, err = run(monkeypatch, capsys, str(typo), study, "--dry-run", "--out", str(tmp_path / "runs"))
    assert code == 1
    assert f"cannot begin: {typo}: " in err
    assert "13 cells in 1 studies" in said


def test_the_shipped_studies_are_listed(monkeypatch, capsys):
    code, said, _ = run(monkeypatch, capsys, "--list")
    assert code == 0
    assert "ResNet50 on CIFAR100, as in the paper's released code" in said
    names = [line.split("  ")[0] for line in said.splitlines()]
    found = json.loads(run(monkeypatch, capsys, "--list", "--json")[1])
    assert [study["name"] for study in found] == names
    assert "resnet50-cifar100-released" in names
    assert all(study["description"] for study in found)


def test_an_interruption_says_how_to_go_on(study, tmp_path, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shrinkscope.experiments.sweep.carry_out", interrupted)
    code, _, err = run(monkeypatch, capsys, study, "--out", str(tmp_path / "runs"), "--device", "cpu")
    assert code == 130
    assert err == "the same command goes on from here\nshrinkscope: interrupted; what was finished is kept\n"


def test_listing_the_studies_imports_nothing_heavy():
    program = (
        "import sys; sys.argv = ['shrinkscope', 'run', '--list']\n"
        "from shrinkscope.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no study; give a .toml file or a name such as digits; shrinkscope run --list names all"),
        (("digts",), "no study is called 'digts'; did you mean digits? shrinkscope run --list names all"),
        (
            ("experiments/resnet50-cifar10.toml",),
            "cannot read experiments/resnet50-cifar10.toml: no such file; the package has a study of this name: give "
            "resnet50-cifar10",
        ),
        (("digits", "--device", "tpu"), "--device tpu: expected auto, cpu or cuda"),
        (
            ("resnet50-cifar10", "--dry-run"),
            "no folder of data is given; give --data DIR that holds images of CIFAR10 in an official layout: ",
        ),
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
