"""``shrinkscope plan`` and ``shrinkscope prune`` as their users meet them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from commands import command
from shrinkscope.analysis.plan import Plan, plan
from shrinkscope.curvature import input_moments
from shrinkscope.experiments.digits import DigitsNet
from shrinkscope.experiments.zoo import load_inputs, load_network
from shrinkscope.performance import reestimate_statistics
from shrinkscope.weights import save_tensors

run = command()


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "digits.safetensors", DigitsNet().state_dict())
    return str(tmp_path / "digits.safetensors")


def test_a_plan_is_made_written_and_applied(weights, tmp_path, monkeypatch, capsys):
    file, pruned = str(tmp_path / "plan.toml"), str(tmp_path / "pruned.safetensors")
    options = ["--network", "digits", "--inputs", "digits", "--count", "32", "--sparsity", "0.6", "--budget", "100"]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options, "--keep", "conv1*", "--out", file)
    assert (code, err) == (0, "")
    for text in ("How much of each layer to remove", "milder and harsher", "joint: remove", "forward-equivalents"):
        assert text in out
    made = Plan.load(file)
    assert made.sparsity == pytest.approx(0.6, abs=0.5 / made.weights)
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, "--out", pruned)
    assert (code, err) == (0, "")
    assert f"{made.removed:,} of {made.weights:,} planned weights are zero (60.0 %)" in out
    before, after = load_file(weights), load_file(pruned)
    assert before.keys() == after.keys()
    planned = {row.layer: row.removed for row in made.rows}
    for name, tensor in after.items():
        if name in planned:
            assert int((tensor == 0).sum()) == planned[name]
        else:
            assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(("option", "value"), [("--size", "0.5x"), ("--flops", "0.5")])
def test_budgets_of_bytes_and_operations(option, value, weights, tmp_path, monkeypatch, capsys):
    file = tmp_path / "plan.json"
    options = ["--network", "digits", "--inputs", "digits", "--count", "16", "--allocation", "erk", option, value]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options, "--out", str(file))
    assert (code, err) == (0, "")
    assert f"for {option.removeprefix('--')} = {value}" in out
    inputs = torch.as_tensor(load_inputs("digits"))[:16]
    asked = {"size": "0.5x"} if option == "--size" else {"flops": 0.5}
    network = load_network("digits")
    network.load_state_dict(load_file(weights))
    assert Plan.load(file).levels() == plan(network.eval(), inputs=inputs, allocation="erk", **asked).levels()


def test_json_is_what_the_function_returns(weights, monkeypatch, capsys):
    options = ["--network", "digits", "--sparsity", "0.5", "--allocation", "lamp", "--json"]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options)
    assert (code, err) == (0, "")
    torch.manual_seed(0)
    assert json.loads(out) == json.loads(plan(DigitsNet(), sparsity=0.5, allocation="lamp").to_json())


def test_mistakes_are_one_line(weights, tmp_path, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "plan", weights, "--network", "digits", "--sparsity", "0.5", "--shape", "x")
    assert (code, err) == (2, "shrinkscope: --shape x: expected whole numbers such as 3,32,32\n")
    code, _, err = run(monkeypatch, capsys, "prune", weights, "plan.toml", "--out", str(tmp_path / "out.pt"))
    assert code == 2
    assert "unknown suffix; expected .safetensors" in err


def test_the_kept_weights_make_up_for_the_others_and_statistics_are_taken_anew(weights, tmp_path, monkeypatch, capsys):
    file, pruned = str(tmp_path / "plan.toml"), tmp_path / "pruned.safetensors"
    code, _, _ = run(
        monkeypatch,
        capsys,
        "plan",
        weights,
        "--network",
        "digits",
        "--sparsity",
        "0.5",
        "--allocation",
        "uniform",
        "--out",
        file,
    )
    assert code == 0
    inputs = ["--network", "digits", "--inputs", "digits", "--count", "64"]
    options = [*inputs, "--compensate", "--reestimate", "--damping", "0.02"]
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, *options, "--out", str(pruned))
    assert (code, err) == (0, "")
    assert "planned weights are zero (50.0 %)" in out
    network = load_network("digits")
    network.load_state_dict(load_file(weights))
    seen = load_inputs("digits")[:64]
    Plan.load(file).apply(network, precisions=input_moments(network, seen).precisions(), damping=0.02)
    reestimate_statistics(network, seen)
    found = load_file(pruned)
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_what_carrying_out_needs_is_named(weights, tmp_path, monkeypatch, capsys):
    file, out = str(tmp_path / "plan.toml"), ["--out", str(tmp_path / "p.safetensors")]
    run(
        monkeypatch,
        capsys,
        "plan",
        weights,
        "--network",
        "digits",
        "--sparsity",
        "0.5",
        "--allocation",
        "uniform",
        "--out",
        file,
    )
    code, _, err = run(monkeypatch, capsys, "prune", weights, file, "--compensate", *out)
    assert code == 2
    assert err.startswith(
        "shrinkscope: --network and --inputs not given; --compensate and --reestimate run the network"
    )
    code, _, err = run(monkeypatch, capsys, "prune", weights, file, "--reestimate", "--network", "digits", *out)
    assert (code, "--inputs not given" in err) == (2, True)


def test_nothing_to_estimate_anew_is_an_error(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    dense, file = str(tmp_path / "lenet.safetensors"), str(tmp_path / "plan.toml")
    save_tensors(dense, load_network("lenet300").state_dict())
    common = ["--network", "lenet300"]
    run(monkeypatch, capsys, "plan", dense, *common, "--sparsity", "0.5", "--allocation", "uniform", "--out", file)
    np.save(tmp_path / "x.npy", np.zeros((4, 784), dtype=np.float32))
    options = [*common, "--inputs", str(tmp_path / "x.npy"), "--reestimate", "--out", str(tmp_path / "p.safetensors")]
    code, _, err = run(monkeypatch, capsys, "prune", dense, file, *options)
    assert (code, err) == (2, "shrinkscope: lenet300 has no batch norm statistics; leave out --reestimate\n")
    assert not (tmp_path / "p.safetensors").exists()


def test_a_plan_for_statistics_estimated_anew_reminds_of_them(weights, tmp_path, monkeypatch, capsys):
    file, pruned = str(tmp_path / "plan.toml"), str(tmp_path / "pruned.safetensors")
    seen = ["--network", "digits", "--inputs", "digits", "--count", "64"]
    options = [*seen, "--reestimate", "--sparsity", "0.5", "--allocation", "lamp", "--out", file]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options)
    assert (code, err) == (0, "")
    assert "statistics re-estimated afterwards" in " ".join(out.split())
    code, _, err = run(monkeypatch, capsys, "prune", weights, file, "--out", pruned)
    assert code == 0
    assert "the plan is for batch norm statistics that are estimated anew: add --reestimate" in err
    code, _, err = run(monkeypatch, capsys, "prune", weights, file, *seen, "--reestimate", "--out", pruned)
    assert (code, err) == (0, "")


def test_bits_are_planned_and_written(weights, tmp_path, monkeypatch, capsys):
    file, rounded = str(tmp_path / "plan.toml"), str(tmp_path / "rounded.safetensors")
    options = ["--network", "digits", "--inputs", "digits", "--count", "32", "--method", "bits", "--budget", "100"]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options, "--size", "0.15x", "--out", file)
    assert (code, err) == (0, "")
    for text in ("How many bits the weights of each layer get", "bytes", "bits a weight in", "forward-equivalents"):
        assert text in out
    made = Plan.load(file)
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, "--out", rounded)
    assert (code, err) == (0, "")
    assert "planned weights are rounded, in their own type" in out
    before, after = load_file(weights), load_file(rounded)
    planned = {row.layer: row.bits for row in made.rows}
    for name, tensor in after.items():
        if planned.get(name) is None:
            assert torch.equal(tensor, before[name])
        else:  # symmetric levels of each output channel
            assert all(len(channel.unique()) <= 2 ** planned[name] - 1 for channel in tensor)
    code, _, err = run(monkeypatch, capsys, "prune", weights, file, "--out", rounded, "--compensate")
    assert code == 2
    assert "the plan is one of bits, which removes nothing to make up for; leave out --compensate" in err
    code, _, err = run(monkeypatch, capsys, "plan", weights, *options[:6], "--method", "wild", "--size", "0.5x")
    assert code == 2
    assert "method 'wild' cannot be planned; expected one of unstructured, magnitude, n:m, low_rank, bits" in err


@pytest.mark.parametrize("method", ["2:4", "low_rank", "magnitude,bits"])
def test_choices_are_planned_and_written(weights, tmp_path, monkeypatch, capsys, method):
    file, made = str(tmp_path / "plan.json"), str(tmp_path / "made.safetensors")
    options = ["--network", "digits", "--inputs", "digits", "--count", "16", "--method", method, "--budget", "50"]
    code, out, err = run(monkeypatch, capsys, "plan", weights, *options, "--size", "0.8x", "--out", file)
    assert (code, err) == (0, "")
    for text in ("What is done to each layer", "bytes", f"joint: {method} in", "forward-equivalents"):
        assert text in out
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, "--out", made)
    assert (code, err) == (0, "")
    assert "planned weights are" in out
    network = load_network("digits")
    network.load_state_dict(load_file(weights))
    Plan.load(file).apply(network)
    found = load_file(made)
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
