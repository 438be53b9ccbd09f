"""``shrinkscope scan`` as its users meet it."""

import json
import sys

import pandas as pd
import pytest
import torch

from shrinkscope.analysis import scan
from shrinkscope.cli import main
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.weights import save_tensors


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "digits.safetensors", DigitsNet().state_dict())
    return str(tmp_path / "digits.safetensors")


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call in this process."""
    monkeypatch.setattr(sys, "argv", ["shrinkscope", "scan", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_the_most_sensitive_layers_and_the_most_damaging_candidates_are_shown(weights, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch, capsys, weights, "--network", "digits", "--data", "digits", "--method", "lowest", "--top", "2"
    )
    assert (code, err) == (0, "")
    for text in ("3 layers, lowest: 12 candidates", "Layers, the most sensitive first", "Δ accuracy", "KL", "Cost:"):
        assert text in out


def test_json_holds_what_the_function_returns(weights, monkeypatch, capsys):
    options = ["--method", "lowest", "--method", "quantise", "--level", "0.4", "--level", "quantise=3"]
    options += ["--inputs", "digits", "--layers", "conv*", "--latent", "gaussian", "--seed", "3", "--every-level"]
    code, out, err = run(monkeypatch, capsys, weights, "--network", "digits", *options, "--json")
    assert (code, err) == (0, "")
    torch.manual_seed(0)
    expected = scan(
        DigitsNet(),
        inputs=load_digits_split().x_test,
        methods=["lowest", "quantise"],
        levels={"lowest": [0.4], "quantise": [3]},
        layers="conv*",
        latents=["gaussian"],
        seed=3,
        early_stop=False,
    )
    found = json.loads(out)
    rows = json.loads(expected.to_json())["rows"]
    assert [{**row, "seconds": 0} for row in found["rows"]] == [{**row, "seconds": 0} for row in rows]
    assert found["settings"]["early_stop"] is False


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet", "png", "svg"])
def test_out_writes_the_format_of_the_suffix(weights, tmp_path, monkeypatch, capsys, suffix):
    path = tmp_path / "out" / f"scan.{suffix}"
    assert run(monkeypatch, capsys, weights, "--network", "digits", "--method", "lowest", "--out", str(path))[0] == 0
    assert path.stat().st_size > 1000
    if suffix == "csv":
        assert len(pd.read_csv(path)) == 12


def test_the_same_command_reads_its_cache(weights, tmp_path, monkeypatch, capsys):
    arguments = [weights, "--network", "digits", "--inputs", "digits", "--method", "lowest", "--cache", str(tmp_path)]
    run(monkeypatch, capsys, *arguments)
    assert "rows from the cache" in run(monkeypatch, capsys, *arguments)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", "half"], "'half' is no number"),
        (["--level", "random=0.5"], "levels are given for random"),
        (["--method", "smallest"], "unknown method 'smallest'"),
        (["--out", "scan.txt"], "unknown suffix"),
        (["--sort", "size"], "no column 'size'"),
        (["--inputs", "missing.npz"], "no such file"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(weights, monkeypatch, capsys, options, message):
    code, out, err = run(monkeypatch, capsys, weights, "--network", "digits", *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out
