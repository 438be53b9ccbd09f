"""Plans of channels on the command line."""

import pytest
import torch
from safetensors.torch import load_file

from commands import command
from shrinkscope.analysis.plan import Plan
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.zoo import load_network
from shrinkscope.weights import save_tensors

run = command()


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "digits.safetensors", DigitsNet().state_dict())
    return str(tmp_path / "digits.safetensors")


OPTIONS = ["--network", "digits", "--inputs", "digits", "--count", "64", "--method", "structured", "--budget", "200"]


def test_channels_are_planned_masked_and_cut_out(weights, tmp_path, monkeypatch, capsys):
    file, pruned, narrow = (str(tmp_path / name) for name in ("plan.toml", "pruned.safetensors", "narrow.safetensors"))
    code, out, err = run(monkeypatch, capsys, "plan", weights, *OPTIONS, "--flops", "0.6", "--out", file)
    assert (code, err) == (0, "")
    for text in ("How many channels of each group to remove", "conv1.weight", "joint: structured in", "Gone: conv1"):
        assert text in out
    made = Plan.load(file)
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, "--out", pruned)
    assert (code, err) == (0, "")
    assert f"{made.removed:,} of {made.weights:,} planned weights are zero" in out
    masked = load_network("digits").eval()
    masked.load_state_dict(load_file(pruned))
    code, out, err = run(monkeypatch, capsys, "prune", weights, file, "--narrow", "--out", narrow)
    assert (code, err) == (0, "")
    assert f"{made.removed:,} of {made.weights:,} planned weights are gone" in out
    found = load_file(narrow)
    assert sum(found[row.layer].numel() for row in made.rows) == made.weights - made.removed
    network = load_network("digits").eval()
    network.load_state_dict(load_file(weights))
    smaller = made.narrowed(network)
    smaller.load_state_dict(found)  # the shapes are those of the smaller network
    images = load_digits_split().x_test[:64]
    # Float32: the same sums with fewer terms.
    torch.testing.assert_close(smaller(images), masked(images), rtol=1e-5, atol=1e-5)


def test_statistics_are_re_estimated_before_channels_are_cut_out(weights, tmp_path, monkeypatch, capsys):
    file, narrow = str(tmp_path / "plan.json"), str(tmp_path / "narrow.safetensors")
    code, _, err = run(monkeypatch, capsys, "plan", weights, *OPTIONS, "--size", "0.6x", "--reestimate", "--out", file)
    assert (code, err) == (0, "")
    more = ["--narrow", "--reestimate", "--network", "digits", "--inputs", "digits", "--count", "64"]
    code, _, err = run(monkeypatch, capsys, "prune", weights, file, *more, "--out", narrow)
    assert (code, err) == (0, "")
    network = load_network("digits").eval()
    network.load_state_dict(load_file(weights))
    smaller = Plan.load(file).narrowed(network)
    smaller.load_state_dict(load_file(narrow))
    assert not torch.equal(smaller.bn1.running_var, Plan.load(file).narrowed(network).bn1.running_var)


def test_other_plans_cannot_be_narrowed(weights, tmp_path, monkeypatch, capsys):
    file = str(tmp_path / "plan.toml")
    code, _, _ = run(
        monkeypatch,
        capsys,
        "plan",
        weights,
        "--sparsity",
        "0.5",
        "--allocation",
        "lamp",
        "--out",
        file,
        "--network",
        "digits",
    )
    assert code == 0
    code, _, err = run(
        monkeypatch, capsys, "prune", weights, file, "--narrow", "--out", str(tmp_path / "x.safetensors")
    )
    assert code == 2
    assert "the plan is one of unstructured: only plans of channels, method='structured', make layers narrower" in err
