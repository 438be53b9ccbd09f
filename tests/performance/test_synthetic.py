"""Synthetic inputs: the noise, how well it fits the remembered statistics, that it ranks, and what is refused."""

import copy
import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import cross_entropy

from shrinkscope import MagnitudePruning, RandomPruning, compress
from shrinkscope.errors import DataError
from shrinkscope.experiments.config import Training
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.train import train
from shrinkscope.performance import predictive_divergence, synthetic_inputs
from shrinkscope.performance.normalisation import mismatches
from shrinkscope.performance.smooth_noise import smooth_noise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def digits() -> DigitsNet:
    torch.manual_seed(0)
    network = DigitsNet()
    train(network, load_digits_split().train, Training(epochs=8), seeded())
    return network


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 8, 5), (4, 50), (1, 4, 4, 4), (7,)])
def test_smooth_noise_has_mean_0_and_variance_1_everywhere(shape):
    noise = smooth_noise(shape, 4000, seeded())
    assert noise.shape == (4000, *shape)
    # Places and channels are at most 6,144 estimates; 5 standard errors leave a chance of 0.004 of one beyond.
    assert float(noise.mean(dim=0).abs().max()) < 5 / math.sqrt(4000)
    assert float((noise.var(dim=0) - 1).abs().max()) < 5 * math.sqrt(2 / 4000)


def test_smooth_noise_is_smooth_and_channels_are_independent():
    noise = smooth_noise((2, 16, 16), 2000, seeded())
    near = (noise[:, :, 7, 7] * noise[:, :, 7, 8]).mean()
    far = (noise[:, :, 0, 0] * noise[:, :, 15, 15]).mean()
    across = (noise[:, 0, 7, 7] * noise[:, 1, 7, 7]).mean()
    # Weights 1/points: the single value holds 1/(1 + ¼ + …) ≈ ¾ of the variance, and the corners share hardly more.
    assert float(near) > float(far) + 0.05 > 0.7
    assert abs(float(across)) < 5 / math.sqrt(2000)


def test_the_mismatch_is_a_gaussian_divergence():
    layer = nn.BatchNorm2d(2).double().eval()
    layer.running_mean = torch.tensor([0.5, -1.0], dtype=torch.float64)
    layer.running_var = torch.tensor([2.0, 0.25], dtype=torch.float64)
    x = torch.randn(5, 2, 3, 4, generator=seeded(), dtype=torch.float64)
    with mismatches(nn.Sequential(layer)) as found:
        layer(x)
    values = x.numpy().transpose(1, 0, 2, 3).reshape(2, -1)
    s2, v = values.var(axis=1) + layer.eps, np.array([2.0, 0.25]) + layer.eps
    m = np.array([0.5, -1.0])
    kl = np.log(np.sqrt(v / s2)) + (s2 + (values.mean(axis=1) - m) ** 2) / (2 * v) - 0.5
    # Rounding of sixty terms.
    assert float(found[0]) == pytest.approx(kl.mean(), rel=1e-12)
    assert not layer._forward_pre_hooks


def test_matched_noise_fits_the_remembered_statistics():
    found = synthetic_inputs(digits(), (1, 8, 8), 128, seeded())
    assert (found.source, found.layers, found.inputs.shape) == ("matched noise", ("bn1", "bn2"), (128, 1, 8, 8))
    with torch.no_grad(), mismatches(digits().eval()) as again:
        digits()(found.inputs)
        synthetic = float(sum(again)) / len(again)
    # Float32 sums in one pass more or less.
    assert found.mismatch == pytest.approx(synthetic, rel=1e-4)
    assert found.mismatch < 0.2 * found.mismatch_before
    assert "no bound follows" in found.limitation


def test_matched_noise_ranks_layers_without_any_data():
    split, dense = load_digits_split(), digits()
    with torch.no_grad():
        before = cross_entropy(dense.eval()(split.x_test), split.y_test)
    inputs = {
        "matched": synthetic_inputs(dense, (1, 8, 8), 128, seeded()).inputs,
        "smooth": synthetic_inputs(dense, (1, 8, 8), 128, seeded(), steps=0).inputs,
    }
    losses, divergences = [], {name: [] for name in inputs}
    for layer in ("conv1.weight", "conv2.weight", "head.weight"):
        for level in (0.2, 0.4, 0.6, 0.8):
            for method in (
                MagnitudePruning(level=level, layers=(layer,)),
                RandomPruning(level=level, layers=(layer,)),
                MagnitudePruning(level=level, order="highest", layers=(layer,)),
            ):
                network = copy.deepcopy(dense)
                compress(network, method, generator=seeded())
                with torch.no_grad():
                    losses.append(float(cross_entropy(network(split.x_test), split.y_test) - before))
                for name, x in inputs.items():
                    divergences[name].append(predictive_divergence(dense, network, x).kl.value)
    found = {name: spearmanr(values, losses)[0] for name, values in divergences.items()}
    # Of 36 cases; the standard error of a rank correlation near 0.95 is about 0.1/√33 = 0.02.
    assert found["matched"] > 0.9
    assert found["matched"] > found["smooth"] - 0.02


def test_the_network_is_left_as_it_was_and_the_generator_decides():
    network = copy.deepcopy(digits()).train()
    state = copy.deepcopy(network.state_dict())
    steps = []
    found = synthetic_inputs(network, (1, 8, 8), 10, seeded(3), steps=4, batch_size=6, progress=steps.append)
    assert steps == list(range(1, 9))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    assert network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(layer._forward_pre_hooks for layer in network.modules())
    again = synthetic_inputs(network, (1, 8, 8), 10, seeded(3), steps=4, batch_size=6)
    assert torch.equal(found.inputs, again.inputs)
    assert not torch.equal(found.inputs, synthetic_inputs(network, (1, 8, 8), 10, seeded(4), steps=4).inputs)
    assert not found.inputs.requires_grad
    wide = synthetic_inputs(network.double(), (1, 8, 8), 4, seeded(), steps=1)
    assert wide.inputs.dtype == torch.float64


def test_without_remembered_statistics_the_limitation_is_stated():
    plain = nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3), nn.BatchNorm1d(3, track_running_stats=False))
    found = synthetic_inputs(plain, (5,), 64, seeded())
    assert (found.source, found.layers, found.mismatch, found.mismatch_before) == ("smooth noise", (), None, None)
    assert "no layer remembers statistics" in found.limitation
    assert torch.equal(found.inputs, smooth_noise((5,), 64, seeded()))
    assert "steps = 0" in synthetic_inputs(digits(), (1, 8, 8), 4, seeded(), steps=0).limitation


def broken() -> nn.Module:
    network = copy.deepcopy(digits())
    network.conv1.weight.data[0] = math.nan
    return network


@pytest.mark.parametrize(
    ("make", "shape", "count", "options", "message"),
    [
        (digits, (1, 8, 8), 1, {}, r"1 inputs of shape \(1, 8, 8\); expected at least 2"),
        (digits, (), 4, {}, r"4 inputs of shape \(\); expected at least 2, and positive sides"),
        (digits, (1, 0, 8), 4, {}, r"positive sides"),
        (digits, (1, 8, 8), 4, {"steps": -1}, r"steps = -1, rate = 0.05, batch_size = 128; expected ≥ 0"),
        (digits, (1, 8, 8), 4, {"rate": 0.0}, r"rate = 0.0"),
        (digits, (1, 8, 8), 4, {"batch_size": 1}, r"batch_size = 1"),
        (digits, (3, 8, 8), 4, {}, r"the network failed on inputs of shape \(4, 3, 8, 8\): .*; give the shape of one"),
        (broken, (1, 8, 8), 4, {}, "the gradient of the batch norm statistics is not finite"),
    ],
)
def test_what_cannot_be_made_is_refused(make, shape, count, options, message):
    with pytest.raises(DataError, match=message):
        synthetic_inputs(make(), shape, count, seeded(), **options)
