"""``shrinkscope scan`` as its users meet it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from commands import command
from shrinkscope.analysis import scan
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.zoo import load_network
from shrinkscope.weights import save_tensors

run = command("scan")


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "digits.safetensors", DigitsNet().state_dict())
    return str(tmp_path / "digits.safetensors")


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


@pytest.fixture
def language(tmp_path):
    """Weights of the small language model, token ids as a .npy of 16-bit numbers, and both as labelled data."""
    torch.manual_seed(0)
    model = load_network("stories260k")
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    state["lm_head.weight"] = model.state_dict()["lm_head.weight"].clone()
    save_tensors(tmp_path / "model.safetensors", state)
    ids = np.random.default_rng(0).integers(512, size=(6, 9)).astype(np.int16)
    np.save(tmp_path / "ids.npy", ids)
    np.savez(tmp_path / "text.npz", x=ids[:, :-1], y=ids[:, 1:])
    return tmp_path, model, torch.from_numpy(ids.astype(np.int64))


def test_a_language_model_is_scanned_on_token_ids(language, monkeypatch, capsys):
    folder, model, ids = language
    options = ["--network", "stories260k", "--layers", "*layers.0*up_proj*", "--method", "lowest", "--level", "0.5"]
    weights = str(folder / "model.safetensors")
    code, out, err = run(monkeypatch, capsys, weights, *options, "--inputs", str(folder / "ids.npy"), "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    expected = scan(model, inputs=ids, layers="*layers.0*up_proj*", methods=["lowest"], levels=[0.5])
    assert found["settings"]["kind"] == "tokens"
    kl = found["rows"][0]["predictive_kl"]
    assert (kl["value"], kl["unit"]) == (expected.rows[0].predictive_kl.value, "nats per token")
    code, out, err = run(monkeypatch, capsys, weights, *options, "--data", str(folder / "text.npz"))
    assert (code, err) == (0, "")
    assert "nats per token" in " ".join(out.split())
    assert "6 labelled samples" in " ".join(out.split())


def test_numbers_are_scanned_with_a_scale(weights, monkeypatch, capsys):
    options = ["--network", "digits", "--inputs", "digits", "--method", "lowest", "--level", "0.5", "--json"]
    code, out, err = run(monkeypatch, capsys, weights, *options, "--kind", "regression", "--scale", "2")
    assert (code, err) == (0, "")
    assert json.loads(out)["settings"]["scale"] == 2.0
    assert json.loads(out)["rows"][0]["disagreement"] is None
    for wrong, message in (
        ("--kind=numbers", "kind = 'numbers'"),
        ("--kind=regression", "needs the standard deviation"),
    ):
        code, _, err = run(monkeypatch, capsys, weights, *options, wrong)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
