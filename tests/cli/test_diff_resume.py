"""``shrinkscope diff`` exactly, in threads, and from a cache."""

import json
import signal
import sqlite3
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from shrinkscope.analysis import measuring
from shrinkscope.cli import app, main


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


@pytest.fixture
def four_layers(tmp_path):
    generator = torch.Generator().manual_seed(2)
    dense = {f"fc{k}.weight": torch.randn(8, 16, generator=generator) for k in range(4)}
    paths = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    save_file(dense, paths[0])
    save_file({name: (4 * tensor).round() / 4 for name, tensor in dense.items()}, paths[1])
    return paths


def test_after_ctrl_c_the_same_command_goes_on(four_layers, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    uninterrupted = diffed(four_layers)
    measured: list[str] = []

    def measure(tensors, *arguments):
        if len(measured) == 2 and "interrupted" not in measured:
            measured.append("interrupted")
            signal.raise_signal(signal.SIGINT)  # what a terminal sends for Ctrl-C
        measured.append(tensors.dense.name)
        return measured_in_fact(tensors, *arguments)

    measured_in_fact = measuring.measure
    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["shrinkscope", "diff", *four_layers, "--resume"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code, capsys.readouterr()) == (
        130,
        ("", "shrinkscope: interrupted; what was finished is kept\n"),
    )
    assert diffed(four_layers, "--resume") == uninterrupted
    assert measured == ["fc0.weight", "fc1.weight", "interrupted", "fc2.weight", "fc3.weight"]


def test_a_plain_comparison_imports_nothing_that_it_does_not_need(files):
    script = (
        "import sys; from shrinkscope.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print([name for name in ('scipy', 'pandas', 'pyarrow', 'matplotlib', 'jinja2', 'sklearn', 'torchvision', "
        "'sympy', 'curvlinops') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, "diff", *files], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
