"""The input latent is half the output error of each layer as measured by running it with both weights."""

import copy

import pytest
import torch
from torch import nn

from shrinkscope.analysis import compare
from shrinkscope.curvature import input_moments
from shrinkscope.curvature import layer_rows as rows_module
from shrinkscope.latent import InformedGaussian

# Sums of thousands of float64 products in two orders; entries of order one.
ROUNDING = 1e-11


def perturbed(model, names=None):
    """A copy whose weights, or those named, are halved where they are small."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if parameter.ndim > 1 and (names is None or name in names):
                parameter.copy_(torch.where(parameter.abs() < parameter.abs().mean(), 0.0, parameter))
    return other


def ap3(model, other, inputs, **settings):
    latent = InformedGaussian(precisions=input_moments(model, inputs, **settings).precisions())
    rows = compare(model, other, latents=[latent]).rows
    return {row.layer: row.divergences[latent.column].value for row in rows if latent.column in row.divergences}


def measured(module, other, inputs):
    """½ E|f(x) − f̃(x)|² of a module over a batch."""
    with torch.no_grad():
        return 0.5 * float((module(inputs) - other(inputs)).square().sum()) / len(inputs)


CONVOLUTIONS = {
    "plain": (nn.Conv2d(4, 6, 3), (5, 4, 7, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (5, 4, 7, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, stride=2), (5, 4, 9, 8)),
    "dilated": (nn.Conv2d(3, 2, (3, 2), dilation=(2, 3), stride=(1, 2), padding=(2, 1)), (5, 3, 9, 8)),
    "same": (nn.Conv2d(3, 2, (4, 3), padding="same"), (5, 3, 6, 7)),
    "reflect": (nn.Conv2d(3, 2, 3, padding=(2, 1), padding_mode="reflect"), (5, 3, 6, 7)),
    "replicate": (nn.Conv2d(3, 2, 3, padding=2, padding_mode="replicate"), (5, 3, 6, 7)),
    "circular": (nn.Conv2d(3, 2, 3, padding="same", padding_mode="circular", dilation=2), (5, 3, 6, 7)),
    "strided": (nn.Conv2d(3, 2, 5, stride=3, padding=4), (5, 3, 10, 11)),
    "one": (nn.Conv1d(4, 6, 3, groups=2, stride=2, padding=1), (5, 4, 11)),
    "three": (nn.Conv3d(2, 3, (2, 3, 2), dilation=(1, 2, 1), padding=1), (5, 2, 4, 6, 5)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch, of even kernels
@pytest.mark.parametrize("chunk", [1 << 22, 300])  # several chunks of samples, and of lines within one sample
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_half_the_output_error_of_a_convolution(name, chunk, monkeypatch):
    monkeypatch.setattr(rows_module, "CHUNK_ENTRIES", chunk)
    layer, shape = CONVOLUTIONS[name]
    model = nn.Sequential(layer).to(torch.float64)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other = perturbed(model)
    found = ap3(model, other, inputs, batch_size=2)
    assert found == {"0.weight": pytest.approx(measured(model, other, inputs), rel=ROUNDING)}


def test_patches_are_those_of_torch_s_unfold():
    layer = nn.Conv2d(3, 2, (3, 2), dilation=(2, 1), stride=(1, 2), padding=(2, 1)).to(torch.float64)
    inputs = torch.randn(4, 3, 7, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    patches = nn.functional.unfold(inputs, (3, 2), dilation=(2, 1), padding=(2, 1), stride=(1, 2))
    truth = torch.einsum("nit,njt->ij", patches, patches) / 4
    found = input_moments(nn.Sequential(layer), inputs)
    torch.testing.assert_close(found.value("0.weight")[0, 0], truth, rtol=ROUNDING, atol=ROUNDING)
    blocks = input_moments(nn.Sequential(layer), inputs, structure="block").value("0.weight")
    assert blocks.shape == (1, 3, 6, 6)  # the kernel positions of each channel
    for channel in range(3):
        own = slice(6 * channel, 6 * channel + 6)
        torch.testing.assert_close(blocks[0, channel], truth[own, own], rtol=ROUNDING, atol=ROUNDING)
    diagonal = input_moments(nn.Sequential(layer), inputs, structure="diagonal").value("0.weight")
    torch.testing.assert_close(diagonal.reshape(-1), truth.diagonal(), rtol=ROUNDING, atol=ROUNDING)


def test_a_linear_layer_sums_over_tokens():
    model = nn.Sequential(nn.Linear(5, 3)).to(torch.float64)
    inputs = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    other = perturbed(model)
    assert ap3(model, other, inputs) == {"0.weight": pytest.approx(measured(model, other, inputs), rel=ROUNDING)}
    truth = torch.einsum("nti,ntj->ij", inputs, inputs) / 6
    torch.testing.assert_close(input_moments(model, inputs).value("0.weight")[0, 0], truth, rtol=ROUNDING, atol=0)
