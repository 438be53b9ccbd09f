"""Checkpoints in several files and directories of networks."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights

PARTS = {"a.safetensors": {"x": torch.ones(2), "y": torch.zeros(3)}, "b.safetensors": {"z": torch.full((2, 2), 5.0)}}
MAP = {"z": "b.safetensors", "x": "a.safetensors", "y": "a.safetensors"}


def sharded(folder: Path, weight_map: object = MAP, name: str = "model.safetensors.index.json") -> Path:
    for file, tensors in PARTS.items():
        save_file(tensors, folder / file)
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("opened", [".", "model.safetensors.index.json"])
def test_shards_in_any_order(tmp_path, opened):
    weights = open_weights(sharded(tmp_path) / opened)
    assert list(weights) == ["z", "x", "y"]
    for tensors in PARTS.values():
        for name, tensor in tensors.items():
            assert torch.equal(weights[name].read(), tensor)


def test_shards_of_pytorch_files_and_tied_tensors(tmp_path):
    shared = torch.ones(2, 2)
    torch.save({"a": shared, "b": shared}, tmp_path / "p1.bin")
    torch.save({"c": torch.zeros(1)}, tmp_path / "p2.bin")
    index = {"weight_map": {"c": "p2.bin", "b": "p1.bin", "a": "p1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    weights = open_weights(tmp_path)
    assert (sorted(weights), weights.tied) == (["a", "c"], {"b": "a"})


def test_a_shard_that_cannot_be_decoded_is_listed(tmp_path):
    save_file({"w_packed": torch.ones(1), "m.qweight": torch.ones(1)}, tmp_path / "a.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"m.qweight": "a.safetensors"}}))
    assert "no scales" in open_weights(tmp_path).unreadable["m.weight"]


@pytest.mark.parametrize(
    ("weight_map", "found"),
    [
        (MAP | {"w": "c.safetensors"}, "names the file c.safetensors, which is not there"),
        (MAP | {"w": "a.safetensors"}, "says that w lies in a.safetensors, which does not have it"),
        ({"x": "../a.safetensors"}, "outside its own directory"),
        ({"x": "/etc/passwd"}, "outside its own directory"),
        ({"x": "..\\a.safetensors"}, "outside its own directory"),
        ({"x": "C:\\a.safetensors"}, "outside its own directory"),
        ({"x": "a\0.safetensors"}, "outside its own directory"),
        ({"x": "model.safetensors.index.json"}, "of unknown format"),
        ({"x": 3}, "does not map tensors to files"),
        ({}, "does not map tensors to files"),
        ([], "does not map tensors to files"),
        ({"x\x1b": "a.safetensors"}, "control characters"),
    ],
)
def test_an_index_that_lies_is_one_line(tmp_path, weight_map, found):
    with pytest.raises(WeightsError, match=found) as error:
        open_weights(sharded(tmp_path, weight_map))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("content", "found"),
    [("{}", "has no weight_map"), ("[]", "not a readable index"), ("{", "not a readable index"), ("", "truncated")],
)
def test_an_index_that_is_none(tmp_path, content, found):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=found):
        open_weights(tmp_path)


def test_files_beyond_all_size_are_no_index_and_no_configuration(tmp_path):
    path = sharded(tmp_path) / "model.safetensors.index.json"
    for name in (path.name, "config.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 29)
        with pytest.raises(WeightsError, match=r"it has 536870912 bytes"):
            open_weights(tmp_path)
        sharded(tmp_path)


def test_what_a_directory_prefers(tmp_path):
    torch.save({"from": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    torch.save({"from": torch.zeros(4)}, tmp_path / "training_args.bin")
    assert open_weights(tmp_path)["from"].shape == (1,)
    save_file({"from": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert open_weights(tmp_path)["from"].shape == (2,)
    save_file({"from": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert open_weights(tmp_path)["from"].shape == (3,)
    assert set(open_weights(sharded(tmp_path))) == {"x", "y", "z"}


def test_several_files_without_an_index(tmp_path):
    sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(WeightsError, match=r"holds 2 files of weights \(a.safetensors, b.safetensors.*name the one"):
        open_weights(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(WeightsError, match="is its index missing"):
        open_weights(tmp_path)


@pytest.mark.parametrize(("content", "found"), [("{", "not a readable JSON object"), ("[1]", "it holds a list")])
def test_a_configuration_that_is_damaged(tmp_path, content, found):
    save_file({"x": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=found):
        open_weights(tmp_path)
    # Beside a single file it may be anybody's.
    assert list(open_weights(tmp_path / "model.safetensors")) == ["x"]


def test_links_that_lead_nowhere_and_names_that_no_file_has(tmp_path):
    loop = tmp_path / "loop.pt"
    loop.symlink_to(loop)
    with pytest.raises(WeightsError, match="symbolic link to a file that is not there|cannot be opened"):
        open_weights(loop)
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nothing.pt")
    with pytest.raises(WeightsError, match="symbolic link"):
        open_weights(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match=r"a\\x00b.pt: (no such file|cannot be opened)") as error:
        open_weights("a\0b.pt")
    assert str(error.value).isprintable()
    with pytest.raises(WeightsError, match="cannot be opened|no such file"):
        open_weights("x" * 5000 + ".pt")


def test_something_that_is_no_regular_file():
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero here")
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(Path(folder) / "pipe.pt")
        with pytest.raises(WeightsError, match="is no regular file"):
            open_weights(Path(folder) / "pipe.pt")
