"""Memory and disk are foreseen: what is foreseen is what is used, and what does not fit is refused before it begins."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from shrinkscope.errors import OutputError
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Arrays, Transform
from shrinkscope.experiments.grid import dense_cells
from shrinkscope.experiments.heads import carry_out_together, room
from shrinkscope.experiments.heads.extract import extract
from shrinkscope.experiments.heads.room import (
    Heads,
    missing_bytes,
    missing_features,
    require_disk,
    require_memory,
)
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.study import Bench

SMALL = Heads(trials=3, heads=12, classes=10, features=64, batch_size=128, samples=60_000)


def test_more_memory_than_there_is_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(room, "available_bytes", lambda device: SMALL.needed)
    require_memory(SMALL)
    monkeypatch.setattr(room, "available_bytes", lambda device: SMALL.needed - 1)
    expected = (
        rf"^36 heads of 10 × 64 weights need about {SMALL.needed:,} bytes \(.* MiB\) and {SMALL.needed - 1:,} bytes .* "
        r"are available on cpu; train fewer at once with --only, such as --only 'trial-1/\*', or with a smaller batch"
    )
    with pytest.raises(StudyError, match=expected):
        require_memory(SMALL)
    # One trial of three needs less, so that the advice helps.
    require_memory(msgspec.structs.replace(SMALL, trials=1))


def test_a_device_that_does_not_tell_is_not_asked(monkeypatch):
    monkeypatch.setattr(room, "available_bytes", lambda device: None)
    require_memory(msgspec.structs.replace(SMALL, features=10**12))


_MEASURED = """
    import sys
    import torch
    from shrinkscope.experiments.heads.bank import Bank, Head
    from shrinkscope.experiments.heads.descent import Group, train_heads
    from shrinkscope.experiments.heads.evaluate import Judged
    from shrinkscope.experiments.settings import Training
    torch.set_num_threads(1)

    def peak():
        # Of this program alone; what getrusage tells begins with that of the process that started it.
        with open("/proc/self/status") as status:
            return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

    heads, classes, features, samples = map(int, sys.argv[1:])
    x, y = torch.randn(samples, features), torch.randint(classes, (samples,))
    small = Bank([[Head(weight=torch.zeros(2, 2))]], Training(epochs=1))
    small.step(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64), 0.1)
    Judged(x[:9], y[:9]).evaluate(torch.zeros(2, classes, features), None)
    before = peak()
    made = [
        Head(weight=torch.randn(classes, features), bias=torch.zeros(classes), kept=torch.ones(classes, features) > 0)
        for _ in range(heads)
    ]
    def keep(epoch, bank):
        Judged(x, y).evaluate(bank.weight(0), bank.bias(0))
    group = Group(heads=made, views=[x], targets=y, order=torch.Generator())
    train_heads([group], Training(epochs=1, batch_size=64), after_epoch=keep)
    print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told otherwise elsewhere")
@pytest.mark.parametrize("size", [(8, 500, 1000, 256), (12, 40, 64, 20_000)], ids=["weights", "outcomes"])
def test_what_is_foreseen_is_what_is_used(size):
    """The growth of a process that trains and evaluates heads, in which either the weights or the samples prevail."""
    heads, classes, features, samples = size
    command = [sys.executable, "-c", textwrap.dedent(_MEASURED), *map(str, size)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    used = int(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    foreseen = Heads(trials=1, heads=heads, classes=classes, features=features, batch_size=64, samples=samples).needed
    # What an earlier run kept is foreseen and not there, and the allocator keeps some pages: within a factor of two
    # above, and hardly below.
    assert 0.5 * foreseen < used < 1.1 * foreseen


def test_bytes_that_a_file_will_take_are_those_that_it_then_has(tmp_path):
    model, samples = new_network("digits", seed=1), (torch.zeros(50, 1, 8, 8), torch.zeros(50, dtype=torch.int64))
    extract(model, samples, tmp_path)
    (path,) = tmp_path.glob("*.npy")
    assert missing_bytes(path, 50, 64) == 0
    size = path.stat().st_size
    features = (size - 128) // (4 * 50)
    assert missing_bytes(tmp_path / "other.npy", 50, features) == size
    shutil.copy(path, tmp_path / "other.partial")
    assert missing_bytes(tmp_path / "other.npy", 50, features) < 512  # whole blocks are allocated


def test_a_disk_without_room_is_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10_000, 9_000, 1_000))  # pyright: ignore[reportAttributeAccessIssue]
    place = tmp_path / "not" / "there"
    require_disk(place, 1_000, 1)
    with pytest.raises(
        OutputError, match=r"^features would take 1,001 bytes \(1001 B\) in .*there, where 1,000 bytes \(1000 B\) are"
    ) as refused:
        require_disk(place, 1_001, 1)
    assert str(refused.value).endswith("free; give another folder with --out")
    with pytest.raises(OutputError, match=r"with --out, or fewer than views = 5 in the study$"):
        require_disk(place, 1_001, 5)


@pytest.fixture
def bench(tmp_path) -> Bench:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=draw.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8), y=np.arange(24) % 3)
    data = Arrays(root=str(tmp_path), train="images.npz", test="images.npz", transform=Transform(augmentation="crop"))
    training = Training(epochs=1, batch_size=8)
    study = Study(
        name="room", network="resnet20", data=data, training=training, trained="last", finetuning=training, views=3
    )
    return Bench(study, tmp_path / "networks" / "run")


def test_all_files_of_a_study_are_foreseen(bench):
    folder = bench.folder.parent / "features"
    missing = missing_features(bench, bench.starting(1), folder)
    # Training images plain and in three views; the held-out ones here are the same images under the same transform.
    assert sorted(missing.values()) == [128 + 24 * 64 * 4] * 4
    # Another trial begins with other weights, so that its files are others; another head alone makes no difference.
    assert not missing.keys() & missing_features(bench, bench.starting(2), folder).keys()
    other = bench.starting(1)
    torch.nn.init.zeros_(other.linear.weight)  # pyright: ignore[reportArgumentType]
    assert missing_features(bench, other, folder) == missing
    carry_out_together(bench, [Cell(trial=1)], lambda cell, records: None)
    assert set(missing) == set(folder.glob("*.npy"))
    assert all(path.stat().st_size == size for path, size in missing.items())
    assert set(missing_features(bench, bench.starting(1), folder).values()) == {0}


@pytest.mark.parametrize("lacking", ["memory", "disk"])
def test_a_study_that_does_not_fit_is_refused_before_anything_is_computed(bench, monkeypatch, lacking):
    folder: Path = bench.folder.parent / "features"
    if lacking == "memory":
        monkeypatch.setattr(room, "available_bytes", lambda device: 1000)
        error, match = StudyError, "3 heads of 3 × 64 weights need about .* and 1,000 bytes"
    else:
        monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(9, 9, 0))  # pyright: ignore[reportAttributeAccessIssue]
        error, match = OutputError, r"features would take 75,264 bytes .* fewer than views = 3"
    with pytest.raises(error, match=match):
        carry_out_together(bench, dense_cells(bench.study), lambda cell, records: None)
    assert not folder.exists()
