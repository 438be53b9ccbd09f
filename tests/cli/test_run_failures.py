"""``shrinkscope run`` where it cannot go on: a full disk, data and weights that do not fit."""

import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from commands import command
from shrinkscope.experiments.networks import new_network
from shrinkscope.weights import save_tensors

run = command("run", last=("--workers", "1", "--device", "cpu"))

IMAGES = """
name = "images"
network = "resnet20"
weights = "{weights}"
trials = 2
methods = ["lowest", "random"]
levels = [0.5]
latents = ["gaussian"]
[data]
kind = "arrays"
root = "{folder}"
train = "images.npz"
test = "images.npz"
[finetuning]
epochs = 1
"""
DIGITS = """
name = "small"
trials = 1
methods = ["lowest"]
levels = [0.5]
latents = ["gaussian"]
path = "features"
[training]
epochs = 1
[finetuning]
epochs = 2
"""


@pytest.fixture
def images(tmp_path):
    """Images of three classes, and a study of them that uses weights as they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=np.arange(12) % 3)

    def study(network: str, classes: int | None = None) -> str:
        weights = tmp_path / "weights.safetensors"
        save_tensors(weights, new_network(network, 1, classes).state_dict())
        path = tmp_path / "images.toml"
        path.write_text(IMAGES.format(weights=weights.as_posix(), folder=tmp_path.as_posix()))
        return str(path)

    return study


def failed(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("failed: ")]


def test_weights_of_another_architecture_are_told_once(images, tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, images("resnet32", 3), "--out", str(tmp_path / "runs"))
    assert code == 1
    assert "0 of 6 cells, 6 failed" in out
    # Two trials fail for one reason, and four prunings for want of them.
    dense, pruned = failed(err)
    place = re.escape(str(tmp_path / "weights.safetensors"))
    assert re.fullmatch(
        rf"failed: images, trial 1, dense \(and 1 more\): {place} holds weights of another architecture than "
        r"resnet20: (\d+) of \1 tensors are there; layer1\.3\.\S+ is unknown",
        dense,
    )
    assert pruned == "failed: images, trial 1, last layer, lowest 50 % (and 3 more): its dense network failed"


def test_other_classes_than_the_datas_are_told_with_the_remedy(images, tmp_path, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, images("resnet20"), "--out", str(tmp_path / "runs"))
    assert code == 1
    assert failed(err)[0] == (
        "failed: images, trial 1, dense (and 1 more): linear.weight has 10 classes in the weights and 3 in the data; "
        "head = 'new' replaces the last layer"
    )


def test_weights_that_are_not_there_are_told_before_anything_is_done(images, tmp_path, monkeypatch, capsys):
    study = images("resnet20", 3)
    (tmp_path / "weights.safetensors").unlink()
    code, out, err = run(monkeypatch, capsys, study, "--dry-run", "--out", str(tmp_path / "runs"))
    assert (code, out) == (2, "")
    assert err.endswith("weights.safetensors: no such file; give --weights FILE, or the folder that holds it\n")
    assert not (tmp_path / "runs").exists()


_LIMITED = """
    import resource, sys
    from shrinkscope.cli import main
    # A limit on the size of a file stands for the disk: writing beyond it fails like writing to a full one.
    limit = int(sys.argv.pop(1))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv[0] = "shrinkscope"
    main()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX limits")
def test_a_disk_without_room_for_features_is_one_line_and_the_same_command_goes_on(tmp_path):
    study, out = tmp_path / "small.toml", tmp_path / "runs"
    study.write_text(DIGITS)

    def command(limit: int) -> subprocess.CompletedProcess[str]:
        words = [str(limit), "run", str(study), "--out", str(out), "--workers", "1", "--device", "cpu"]
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_LIMITED), *words],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    full = command(300_000)
    assert full.returncode == 1, full.stderr
    assert "1 of 2 cells, 1 failed" in full.stdout
    (line,) = failed(full.stderr)
    # 1,437 digits of 64 features in float32.
    assert line.startswith("failed: small, trial 1, last layer, lowest 50 %: cannot keep features in ")
    assert line.endswith("; they take 367,872 bytes")
    assert list((out / "networks" / "features").glob("*.npy")) == []
    assert list((out / "networks" / "features").glob("*.partial")) == []
    done = command(0)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 cells, 1 were there" in done.stdout
