"""``shrinkscope diff`` exactly, in threads, and from a cache."""

import json
import sqlite3

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from shrinkscope.cli import app


@pytest.fixture
def files(tmp_path):
    dense = {"fc.weight": torch.randn(8, 16, generator=torch.Generator().manual_seed(0))}
    paths = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    save_file(dense, paths[0])
    save_file({name: (4 * tensor).round() / 4 for name, tensor in dense.items()}, paths[1])
    return paths


def diffed(files, *options):
    result = CliRunner().invoke(app, ["diff", *files, "--json", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_exact_sums_are_recorded(files):
    assert diffed(files, "--exact", "--threads", "1")["settings"]["exact"] is True
    assert diffed(files)["settings"]["exact"] is False


@pytest.mark.parametrize("how", ["resume", "cache"])
def test_finished_tensors_are_kept_and_used_again(files, tmp_path, monkeypatch, how):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    options = ["--resume"] if how == "resume" else ["--cache", str(tmp_path / "home" / "shrinkscope")]
    first = diffed(files, *options)
    connection = sqlite3.connect(tmp_path / "home" / "shrinkscope" / "diff.sqlite")
    assert connection.execute("SELECT count(*) FROM rows").fetchone() == (1,)
    connection.close()
    assert diffed(files, *options) == first


def test_a_missing_kernel_is_announced(files, monkeypatch):
    monkeypatch.setattr("shrinkscope.kernel.why_not", lambda: "the C kernel was not built")
    result = CliRunner().invoke(app, ["diff", *files])
    assert "the C kernel was not built" in result.stderr
