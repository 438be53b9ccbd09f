"""``shrinkscope diff --ray``: the option without a value, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from ray_workers import carrying_out, descendants
from shrinkscope.cli.ray_option import with_address


@pytest.mark.parametrize("address", ["auto", "local", "head:6379", "ray://head:10001", "[::1]:6379"])
def test_an_address_after_the_option_is_its_value(address):
    assert with_address(["a", "b", "--ray", address]) == ["a", "b", "--ray", address]


@pytest.mark.parametrize("after", [[], ["--json"], ["a.npz"], ["dir/a:1"], ["C:\\weights"], ["s3://bucket/a"]])
def test_anything_else_is_not(after):
    assert with_address(["--ray", *after]) == ["--ray", "local", *after]


def test_the_option_has_no_meaning_after_two_dashes():
    assert with_address(["a", "--", "--ray"]) == ["a", "--", "--ray"]


def test_ctrl_c_stops_a_cluster_and_says_so(tmp_path):
    # Sparse files: nothing of them is on the disk, and comparing them takes longer than this test.
    state = {"w": torch.zeros(4, dtype=torch.bfloat16)}
    files = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    for file in files:
        save_file(state, file)
        enlarge(file, 1 << 36)
    command = [sys.executable, "-m", "shrinkscope", "diff", *files, "--ray"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while not carrying_out("_compare_shard"):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        started = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[1].splitlines()[-1] == (
            "shrinkscope: interrupted; what was finished is kept"
        )
        assert process.returncode == 130
        end = time.monotonic() + 20
        while started & descendants(1):
            assert time.monotonic() < end, "processes of Ray are left"
            time.sleep(0.1)
    finally:
        process.kill()


def enlarge(path, count):
    """Make the only tensor of a safetensors file one of so many bfloat16 zeros, without writing them."""
    header = b'{"w":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}' % (count, 2 * count)
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * count)
