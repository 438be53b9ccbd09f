"""Latents by name are those assembled by hand, in Python and on the command line."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from commands import command
from shrinkscope.analysis import compare
from shrinkscope.analysis.informed import informed_latents
from shrinkscope.curvature import fisher_diagonal, gauss_newton_precisions, input_moments, kronecker_fisher
from shrinkscope.errors import CurvatureError, LatentError, WeightsError
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.latent import Gaussian, InformedGaussian, InformedStudentT
from shrinkscope.latent.informed_names import informed_names
from shrinkscope.weights import save_tensors

run = command()

NAMES = ["input", "relative_input", "student_t_input", "input_block", "input_diagonal", "fisher", "kfac"]
NAMES += ["gauss_newton", "relative_fisher", "student_t_relative_kfac"]


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    network = DigitsNet().eval()
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(torch.rand(parameter.shape) < 0.7)
    return network, other


@pytest.fixture(scope="module")
def inputs():
    return load_digits_split().x_train[:24]


def by_hand(network, inputs):
    moments = input_moments(network, inputs)
    precisions = {
        "input": moments.precisions(),
        "input_block": input_moments(network, inputs, structure="block").precisions(),
        "input_diagonal": input_moments(network, inputs, structure="diagonal").precisions(),
        "fisher": fisher_diagonal(network, inputs).precisions(),
        "kfac": kronecker_fisher(network, inputs).precisions(),
        "gauss_newton": gauss_newton_precisions(network, inputs),
    }
    latents = [InformedGaussian(precisions=one) for one in precisions.values()]
    latents += [InformedGaussian(precisions=precisions[name], relative=True) for name in ("input", "fisher")]
    latents.append(InformedStudentT(precisions=precisions["input"]))
    return [*latents, InformedStudentT(precisions=precisions["kfac"], relative=True)]


def columns(comparison):
    return {row.layer: {name: quantity.value for name, quantity in row.divergences.items()} for row in comparison.rows}


def test_names_give_the_columns_that_latents_made_by_hand_give(pair, inputs):
    found = columns(compare(*pair, latents=["gaussian", *NAMES], inputs=inputs, layers="*.weight"))
    truth = columns(compare(*pair, latents=["gaussian", *by_hand(pair[0], inputs)], layers="*.weight"))
    assert found.keys() == truth.keys()
    for layer, values in truth.items():
        # Sums of squares of float32 activations: another grouping of the same ones.
        assert found[layer] == pytest.approx(values, rel=1e-9)
    assert set(found["conv1.weight"]) == {"ap3_gaussian", *(f"ap3_{name}" for name in NAMES)}


def test_what_is_not_gathered_is_handed_on_and_the_order_is_kept(pair, inputs):
    own = Gaussian(name="mine")
    stages = []
    found = informed_latents(
        ["student_t", "kfac", own, "input_diagonal"],
        pair[0],
        inputs,
        layers="head",
        batch_size=16,
        progress=lambda stage, done: stages.append((stage, done)),
    )
    assert (found[0], found[2]) == ("student_t", own)
    assert [found[place].column for place in (1, 3)] == ["ap3_kfac", "ap3_input_diagonal"]
    assert list(found[1].precisions) == ["head.weight"]
    assert stages == [("diagonal input moments", 16), ("diagonal input moments", 24), ("K-FAC", 16), ("K-FAC", 24)]
    assert informed_names(["student_t", own, "kfac", "relative_input"]) == ["kfac", "relative_input"]


def test_an_iterator_is_read_for_every_statistic(pair, inputs):
    asked = ["input", "fisher", "gauss_newton"]
    truth = informed_latents(asked, pair[0], inputs, batch_size=12, layers="head.weight")
    found = informed_latents(asked, pair[0], iter(inputs.split(12)), layers="head.weight")
    x = torch.ones(truth[0].precisions["head.weight"].dim, dtype=torch.float64)
    for one, other in zip(found, truth, strict=True):
        value = other.precisions["head.weight"].quadratic(x)
        assert one.precisions["head.weight"].quadratic(x) == pytest.approx(value, rel=1e-6)


def test_a_regression_is_told_by_its_scale(inputs):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    (found,) = informed_latents(["fisher"], model, inputs, scale=0.5, draws=None)
    truth = fisher_diagonal(model, inputs, scale=0.5, draws=None).precisions()["1.weight"]
    assert bool((found.precisions["1.weight"].values == truth.values).all())


def test_what_is_refused(pair, inputs, tmp_path):
    with pytest.raises(LatentError, match="'fisher' is gathered from unlabelled inputs, which are not given"):
        compare(*pair, latents=["fisher"])
    with pytest.raises(LatentError, match="no Student-t over the exact Gauss-Newton matrix"):
        compare(*pair, latents=["student_t_gauss_newton"], inputs=inputs)
    with pytest.raises(CurvatureError, match=r"needs about .* bytes"):
        informed_latents(["input"], pair[0], inputs, memory_limit=100)
    save_tensors(tmp_path / "dense.safetensors", pair[0].state_dict())
    with pytest.raises(WeightsError, match="without a network to run them in"):
        compare(tmp_path / "dense.safetensors", pair[1], latents=["fisher"], inputs=inputs)
    found = compare(
        tmp_path / "dense.safetensors", pair[1], latents=["input"], inputs=inputs, network=pair[1], layers="head.weight"
    )
    truth = compare(*pair, latents=["input"], inputs=inputs, layers="head.weight")
    assert columns(found) == columns(truth)


@pytest.fixture
def files(pair, inputs, tmp_path):
    for name, network in zip(("dense", "pruned"), pair, strict=True):
        save_tensors(tmp_path / f"{name}.safetensors", network.state_dict())
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    return [str(tmp_path / name) for name in ("dense.safetensors", "pruned.safetensors", "inputs.npy")]


def test_diff_gathers_on_the_command_line(pair, inputs, files, monkeypatch, capsys):
    dense, pruned, source = files
    arguments = ["--network", "digits", "--inputs", source, "--latent", "gaussian", "--latent", "relative_fisher"]
    code, out, err = run(monkeypatch, capsys, "diff", dense, pruned, *arguments, "--layers", "*.weight", "--json")
    assert (code, err) == (0, "")
    truth = columns(compare(*pair, latents=["gaussian", "relative_fisher"], inputs=inputs, layers="*.weight"))
    for row in json.loads(out)["rows"]:
        values = {name: quantity["value"] for name, quantity in row["divergences"].items()}
        assert values == pytest.approx(truth[row["layer"]], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latent", "kfac"], "--latent kfac is gathered from inputs; give --network and --inputs"),
        (["--latent", "kfac", "--network", "digits"], "--latent kfac is gathered from inputs; give --inputs"),
        (["--latent", "input", "--inputs", "digits"], "--latent input is gathered from inputs; give --network"),
        (["--inputs", "digits", "--latent", "uniform"], "no latent is gathered from inputs; add --latent input"),
        (["--network", "digits"], "no latent is gathered from inputs; add --latent input"),
        (["--latent", "fisher", "--inputs", "digits", "--network", "alexnet"], "unknown network 'alexnet'"),
        (["--latent", "fisher", "--inputs", "x.txt", "--network", "digits"], "x.txt: not usable as inputs"),
        (
            ["--latent", "fisher", "--inputs", "digits", "--network", "digits", "--padding", "0"],
            "padding is about positions of sequences, and the outputs are classes",
        ),
        (
            ["--latent", "fisher", "--inputs", "digits", "--network", "digits", "--kind", "regression"],
            "a regression needs the standard deviation of its prediction",
        ),
        (["--latent", "student_t_gauss_newton", "--inputs", "digits", "--network", "digits"], "there is no Student-t"),
    ],
)
def test_diff_refuses_in_one_line(files, monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, "diff", *files[:2], *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
