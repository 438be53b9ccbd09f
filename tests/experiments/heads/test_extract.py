"""Features in files: those of a pass through the network, keyed by all they depend on, safe against kills."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from shrinkscope.errors import OutputError
from shrinkscope.experiments.data import Arrays, Part, Transform, open_images
from shrinkscope.experiments.digits import load_digits_split
from shrinkscope.experiments.heads.extract import extract, mapped
from shrinkscope.experiments.heads.key import features_key
from shrinkscope.experiments.heads.locate import FeaturesError, features_of, find_head
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.settings import ConfigError, Extraction
from shrinkscope.experiments.stage import Stage


@pytest.fixture
def model() -> torch.nn.Module:
    return new_network("digits", seed=1)


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    split = load_digits_split()
    return split.x_train[:100], split.y_train[:100]


@pytest.fixture
def images(tmp_path) -> Part:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (21, 3, 16, 16), dtype=np.uint8)
    np.savez(
        tmp_path / "images.npz", x_train=pixels, y_train=np.arange(21) % 3, x_test=pixels, y_test=np.arange(21) % 3
    )
    transform = Transform(augmentation="crop")
    return open_images(Arrays(root=str(tmp_path), train="images.npz", transform=transform)).train


def test_features_are_those_of_a_pass_through_the_network(model, samples, tmp_path):
    found = extract(model, samples, tmp_path, how=Extraction(batch_size=32))
    expected = features_of(model, "head", samples[0])
    # Other batches round differently: a few float32 units of a sum of 12 · 9 terms.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float32
    half = extract(model, samples, tmp_path, how=Extraction(batch_size=32), precision="float16")
    # Rounding to 11 bits is at most 2⁻¹¹ of the value.
    torch.testing.assert_close(half.float(), expected, rtol=2**-10, atol=1e-4)


def test_the_file_is_an_array_that_others_can_open_and_nothing_else_is_left(model, samples, tmp_path):
    found = extract(model, samples, tmp_path)
    (path,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(path, mmap_mode="r"), found.numpy())
    assert path.stat().st_size == np.load(path).nbytes + 128  # the header of the format
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".lock", ".npy"]


def test_features_that_are_there_are_not_computed_again(model, samples, tmp_path):
    told: list[Stage] = []
    extract(model, samples, tmp_path, how=Extraction(batch_size=30), progress=told.append)
    assert [p.done for p in told] == [30, 60, 90, 100]
    assert told[-1].remaining == 0
    assert all(p.total == 100 and p.elapsed > 0 for p in told)
    extract(model, samples, tmp_path, how=Extraction(batch_size=30), progress=told.append)
    assert len(told) == 4


def test_augmented_views_are_those_of_the_stated_seed_and_number(images, tmp_path):
    model = new_network("resnet20", seed=1, classes=3)
    everything = torch.arange(len(images))
    views = [extract(model, images, tmp_path, view=(5, number), how=Extraction(batch_size=8)) for number in (0, 1)]
    for number, found in enumerate(views):
        inputs, _ = next(iter(images.epoch(everything, len(images), 5, number)))
        torch.testing.assert_close(found, features_of(model, "linear", inputs), rtol=1e-4, atol=1e-5)
    plain = extract(model, images, tmp_path, how=Extraction(batch_size=8))
    torch.testing.assert_close(
        plain, features_of(model, "linear", torch.cat([x for x, _ in images])), rtol=1e-4, atol=1e-5
    )
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[0], plain)


def test_the_key_changes_with_everything_that_features_depend_on_and_nothing_else(model, samples, images, tmp_path):
    def key(network=model, source=samples, view=None, dtype=torch.float32):
        return features_key(network, "head", source, view, dtype)

    other_head = new_network("digits", seed=1)
    with torch.no_grad():
        other_head.head.weight.zero_()
        other_head.head.bias.zero_()
    assert key(other_head) == key() == key(new_network("digits", seed=1))
    other_statistics = new_network("digits", seed=1)
    other_statistics.bn1.running_mean += 1e-3
    changed = {
        "weights": key(new_network("digits", seed=2)),
        "statistics": key(other_statistics),
        "inputs": key(source=(samples[0] + 1, samples[1])),
        "fewer": key(source=(samples[0][:50], samples[1][:50])),
        "precision": key(dtype=torch.float16),
        "images": key(source=images),
        "view": key(source=images, view=(0, 0)),
        "next view": key(source=images, view=(0, 1)),
        "seed": key(source=images, view=(1, 0)),
        "subset": key(source=images.subset(5)),
    }
    assert len({key(), *changed.values()}) == 1 + len(changed)


def test_augmentation_is_no_part_of_plain_features(images, tmp_path):
    settings = Arrays(root=str(tmp_path), train="images.npz", transform=Transform())
    plain = open_images(settings).train
    model = new_network("resnet20", seed=1, classes=3)
    keys = [features_key(model, "linear", part, None, torch.float32) for part in (images, plain)]
    assert keys[0] == keys[1]
    resized = open_images(Arrays(root=str(tmp_path), train="images.npz", transform=Transform(size=8))).train
    assert features_key(model, "linear", resized, None, torch.float32) != keys[0]


_KILLED = """
    import os, signal, sys
    import torch
    from shrinkscope.experiments.digits import load_digits_split
    from shrinkscope.experiments.heads.extract import extract
    from shrinkscope.experiments.networks import new_network
    from shrinkscope.experiments.settings import Extraction
    split = load_digits_split()
    model = new_network("digits", seed=1)
    def tell(progress):
        if progress.done >= int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    samples = split.x_train[:100], split.y_train[:100]
    extract(model, samples, sys.argv[1], how=Extraction(batch_size=16), progress=tell)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_extraction_goes_on_where_it_was_to_the_same_bytes(model, samples, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(_KILLED), str(tmp_path / "killed"), "48"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = subprocess.run(command, env=environment, check=False).returncode  # our own program
    assert code == -signal.SIGKILL
    assert not list((tmp_path / "killed").glob("*.npy"))
    told: list[Stage] = []
    found = extract(model, samples, tmp_path / "killed", how=Extraction(batch_size=16), progress=told.append)
    assert told[0].done == 64  # three blocks were kept
    assert torch.equal(found, extract(model, samples, tmp_path / "whole", how=Extraction(batch_size=16)))


def test_a_full_disk_is_told_with_the_size_and_leaves_nothing(model, samples, tmp_path, monkeypatch):
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room, raising=False)
    with pytest.raises(
        OutputError, match=r"cannot keep features in .*: No space left on device; they take 25,600 bytes"
    ):
        extract(model, samples, tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]
    monkeypatch.undo()
    assert len(extract(model, samples, tmp_path)) == 100


def test_a_disk_that_fills_later_leaves_nothing_half_valid(model, samples, tmp_path, monkeypatch):
    calls = iter(range(100))
    synced = os.fsync

    def fills(handle: int) -> None:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        synced(handle)

    monkeypatch.setattr(os, "fsync", fills)
    with pytest.raises(OutputError, match="No space left on device"):
        extract(model, samples, tmp_path, how=Extraction(batch_size=10))
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


def test_a_place_that_cannot_be_written_is_told(model, samples, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot keep features in"):
        extract(model, samples, tmp_path / "file")


def test_what_cannot_be_kept_is_refused(model, samples, tmp_path):
    with pytest.raises(FeaturesError, match="a view of samples in memory was asked for"):
        extract(model, samples, tmp_path, view=(0, 0))
    with torch.no_grad():
        model.bn2.weight.fill_(1e6)
    with pytest.raises(FeaturesError, match="features of image 0 are not finite in float16"):
        extract(model, samples, tmp_path, precision="float16")
    assert torch.isfinite(extract(model, samples, tmp_path)).all()


def test_a_damaged_file_is_named(tmp_path):
    path = Path(tmp_path) / "broken.npy"
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(FeaturesError, match=r"broken\.npy holds no features"):
        mapped(path)


def test_the_head_is_looked_for_in_the_network(tmp_path, samples):
    scaled = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.ReLU())
    with pytest.raises(FeaturesError, match="the output of Sequential is not that of its last linear layer 1"):
        extract(scaled, samples, tmp_path)
    assert find_head(scaled[:2], samples[0][:2]) == "1"


@pytest.mark.parametrize(("size", "batch"), [(8, 32), (16, 32), (96, 28), (224, 8)])
def test_by_default_a_batch_is_what_a_cpus_caches_hold(tmp_path, size, batch):
    images = torch.zeros(40, 1, size, size), torch.zeros(40, dtype=torch.int64)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4, 3))
    told: list[Stage] = []
    extract(network, images, tmp_path, progress=told.append)
    assert told[0].done == batch


def test_layout_and_batch_are_rounding_and_leave_the_network_as_it_was(images, tmp_path):
    model = new_network("resnet20", seed=1, classes=3)
    strides = [parameter.stride() for parameter in model.parameters()]
    found = [
        extract(model, images, tmp_path / str(place), how=Extraction(channels_last=last, batch_size=size))
        for place, (last, size) in enumerate([(True, 4), (False, 4), (True, 21)])
    ]
    for other in found[1:]:
        # Sums of some hundred float32 terms in other orders, through 19 layers.
        torch.testing.assert_close(found[0], other, rtol=1e-4, atol=1e-5)
    assert [parameter.stride() for parameter in model.parameters()] == strides
    with pytest.raises(ConfigError, match="0 images a forward pass for features; expected at least 1"):
        Extraction(batch_size=0)
