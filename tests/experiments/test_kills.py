"""A study of images that is killed at random moments: the same numbers and networks as without."""

import os
import random
import signal
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Arrays, Transform
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import carry_out


@pytest.fixture
def study(tmp_path) -> Study:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 96)
    pixels = (draw.integers(0, 128, (96, 16, 16, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=labels)
    training = Training(epochs=6, batch_size=32, learning_rate=0.05)
    return Study(
        name="killed",
        network="resnet20",
        data=Arrays(
            root=str(tmp_path), train="images.npz", test="images.npz", transform=Transform(augmentation="crop")
        ),
        training=training,
        finetuning=training,
        trials=1,
        methods=("lowest",),
        levels=(0.5,),
        scopes=("all", "last"),
        path="whole",
        latents=("gaussian",),
        curvature_samples=0,
    )


def results(study: Study, folder: Path) -> tuple[pd.DataFrame, dict[str, bytes]]:
    plan = plan_study(study, folder)
    assert plan.left == ()
    with Store(plan.store, create=False) as store:
        table = store.records(plan.run.run)
    files = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))}
    return table, files


def killed_after(study: Study, folder: Path, seconds: float) -> bool:
    """Begin or resume the study in a process of its own, and kill it after a time; whether it was still at work."""
    child = os.fork()
    if child == 0:
        try:
            carry_out([plan_study(study, folder, patience=0.0)], workers=1, stop=True)
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def on_features(study: Study) -> Study:
    """The same images, the last layer alone trained, on features of three augmented views."""
    training = Training(epochs=40, batch_size=8, learning_rate=0.05)
    return msgspec.structs.replace(
        study,
        path="features",
        trained="last",
        scopes=("last",),
        methods=("lowest", "random"),
        views=3,
        training=training,
        finetuning=training,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes of POSIX")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads of the test runner
@pytest.mark.parametrize("path", ["whole", "features"])
def test_killed_at_random_it_resumes_to_the_same_numbers(study, tmp_path, path):
    study = on_features(study) if path == "features" else study
    unfinished = "heads-*/**/epoch-*.safetensors" if path == "features" else "*.checkpoint.safetensors"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    assert carry_out([plan_study(study, whole)], workers=1, stop=True) == []
    # Each attempt has up to a half of the time that all needs, so that several kills fall, whatever the machine.
    taken, moments, kills, resumed = time.monotonic() - started, random.Random(1), 0, 0
    for _ in range(100):
        resumed += any(killed.rglob(unfinished))
        if not killed_after(study, killed, taken * moments.uniform(0.05, 0.5)):
            break
        kills += 1
    assert kills >= 1
    assert resumed >= 1  # it went on from the middle of a training at least once
    (table, files), (again, same) = results(study, whole), results(study, killed)
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    # A kill in the middle of a write leaves its temporary file behind, whose name begins with a dot; one while
    # tidying up leaves working files, which nothing reads again.
    assert {name: data for name, data in same.items() if "/." not in name and "/heads-" not in name} == files


def test_a_checkpoint_that_the_store_does_not_know_is_not_taken_up(study, tmp_path):
    folder, short = tmp_path / "runs", msgspec.structs.replace(study.training, epochs=1)
    study = msgspec.structs.replace(study, scopes=("all",), training=short, finetuning=short)
    carry_out([plan_study(study, folder)], workers=1, stop=True)
    expected = results(study, folder)
    plan = plan_study(study, folder)
    network = plan.networks / "trial-1" / "all-lowest-0.5.safetensors"
    checkpoint = network.with_suffix(".checkpoint.safetensors")
    network.unlink()
    # As if a kill had left it, without the epochs that belong to it: another file under its name.
    checkpoint.write_bytes((plan.networks / "trial-1" / "dense.safetensors").read_bytes())
    assert carry_out([plan_study(study, folder)], workers=1, stop=True) == []
    assert not checkpoint.exists()
    pd.testing.assert_frame_equal(results(study, folder)[0], expected[0], check_exact=True)
