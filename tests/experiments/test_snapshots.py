"""Snapshots give back what the network was, from memory and from a file, and a full disk is said."""

import tempfile
from pathlib import Path

import pytest
import torch

from shrinkscope.compression import MagnitudePruning, hold, prune
from shrinkscope.errors import OutputError
from shrinkscope.experiments.digits import DigitsNet
from shrinkscope.experiments.snapshots import Snapshots

NAMES = ("conv2.weight", "head.weight", "head.bias")


def shift(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)


@pytest.mark.parametrize("in_memory", [1, 1 << 20])
def test_each_snapshot_is_what_the_network_was(tmp_path, in_memory):
    model = DigitsNet()
    kept = []
    with Snapshots(NAMES, tmp_path, in_memory=in_memory) as path:
        for _ in range(3):
            path.keep(model)
            kept.append({name: model.get_parameter(name).detach().clone() for name in NAMES})
            shift(model)
        assert len(path) == 3
        # Out of order, and once more after the next has been read.
        for index in (2, 0, 1, -1, 0):
            found = path[index]
            assert list(found) == list(NAMES)
            assert all(torch.equal(found[name], kept[index][name]) for name in NAMES)
        with pytest.raises(IndexError):
            path[3]
        # Snapshots are copies: writing to one changes neither the network nor another reading.
        path[0]["head.bias"].fill_(7.0)
        assert torch.equal(path[0]["head.bias"], kept[0]["head.bias"])
    assert list(tmp_path.iterdir()) == []


def test_no_more_than_asked_for_stays_in_memory(tmp_path):
    model = torch.nn.Linear(64, 64, bias=False)
    with Snapshots(["weight"], tmp_path, in_memory=2 * 64 * 64 * 4) as path:
        path.keep(model)
        path.keep(model)
        assert in_memory(path)
        path.keep(model)
        assert not in_memory(path)


def in_memory(path: Snapshots) -> bool:
    return not path._file._rolled  # pyright: ignore[reportAttributeAccessIssue]


def test_held_masks_other_types_and_empty_tensors_are_kept_as_they_are(tmp_path):
    model = DigitsNet().double()
    mask = prune(model, MagnitudePruning(level=0.5))
    plain = model.head.weight.detach().clone()
    hold(model, mask)
    half = torch.nn.Linear(3, 2).to(torch.bfloat16)
    half.register_parameter("none", torch.nn.Parameter(torch.empty(0, 4)))
    with Snapshots(["head.weight"], tmp_path) as held, Snapshots(["weight", "none"], tmp_path) as small:
        held.keep(model)
        assert torch.equal(held[0]["head.weight"], plain)
        assert int((held[0]["head.weight"] == 0).sum()) == 320
        small.keep(half)
        assert torch.equal(small[0]["weight"], half.weight)
        assert small[0]["none"].shape == (0, 4)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    model, full = torch.nn.Linear(64, 64), Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    # A file on which every write fails as on a full disk.
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda **_: full.open("wb", buffering=0))
    message = r"cannot keep the weights of each epoch in .*: No space left on device; is the disk full\?"
    with Snapshots(["weight"], tmp_path) as path, pytest.raises(OutputError, match=message):
        path.keep(model)
