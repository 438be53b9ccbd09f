"""The exact Gauss-Newton latent against the dense Fisher information, which it equals for classifiers."""

import pytest
import torch
from torch import nn

from references.fisher import dense_fisher
from shrinkscope.analysis import compare
from shrinkscope.curvature import gauss_newton_precisions
from shrinkscope.errors import CurvatureError, LatentError
from shrinkscope.latent import InformedGaussian, InformedStudentT


@pytest.fixture
def inputs(images):
    return images[0][:8]


@pytest.mark.parametrize("name", ["conv.weight", "norm.weight", "head.weight", "head.bias"])
def test_the_form_is_that_of_the_dense_fisher_information(conv, inputs, name):
    precision = gauss_newton_precisions(conv, [inputs[:3], inputs[3:6], inputs[6:]], batch_size=3).of(
        name, dict(conv.named_parameters())[name].numel()
    )
    x = torch.randn(precision.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = float(x @ dense_fisher(conv.eval(), name, inputs) @ x)
    # Sums of a few thousand products in float64, and p from a softmax.
    assert precision.quadratic(x) == pytest.approx(truth, rel=1e-10)


def test_it_is_a_column_of_every_parameter(conv, inputs):
    other = type(conv)().to(torch.float64)
    latent = InformedGaussian(precisions=gauss_newton_precisions(conv, inputs))
    rows = {row.layer: row for row in compare(conv, other, latents=[latent]).rows}
    measured = {name for name, row in rows.items() if "ap3_gauss_newton" in row.divergences}
    assert measured == {"conv.weight", "norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_attention_is_differentiated_although_torch_would_fuse_it():
    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

        def forward(self, inputs):
            return self.head(self.attention(inputs, inputs, inputs)[0].mean(dim=1))

    torch.manual_seed(3)
    model = Attentive().to(torch.float64).eval()
    tokens = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    before = torch.backends.mha.get_fastpath_enabled()
    for name in ("attention.in_proj_weight", "attention.out_proj.weight"):
        precision = gauss_newton_precisions(model, tokens)[name]
        x = torch.randn(precision.dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        truth = float(x @ dense_fisher(model, name, tokens) @ x)
        assert precision.quadratic(x) == pytest.approx(truth, rel=1e-10)
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_tied_weights_have_all_their_names():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).to(torch.float64)
    model[2].weight = model[0].weight
    found = gauss_newton_precisions(model, torch.ones(2, 3, dtype=torch.float64), layers="*.weight")
    assert found["2.weight"] is found["0.weight"]


def test_what_it_does_not_know_is_refused(conv, inputs):
    precisions = gauss_newton_precisions(conv, inputs, layers="head.weight")
    damped = InformedGaussian(precisions=precisions, damping=0.1)
    (row,) = compare(conv, type(conv)().to(torch.float64), latents=[damped], layers="head.weight").rows
    assert row.reason is not None
    assert "the trace of the exact Gauss-Newton matrix is not known" in row.reason
    heavy = InformedStudentT(precisions=precisions, damping=0.0)
    (row,) = compare(conv, type(conv)().to(torch.float64), latents=[heavy], layers="head.weight").rows
    assert row.reason is not None
    assert "the rank of the exact Gauss-Newton matrix is not known" in row.reason
    with pytest.raises(CurvatureError, match=r"needs about .* bytes"):
        gauss_newton_precisions(conv, inputs, memory_limit=1000)


def test_what_torch_cannot_differentiate_is_a_reason_and_not_an_error(inputs):
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return Opaque.apply(self.head(x.flatten(1)))

    precision = gauss_newton_precisions(Network().to(torch.float64), inputs)["head.weight"]
    with pytest.raises(LatentError, match="cannot be computed"):
        precision.quadratic(torch.ones(48, dtype=torch.float64))
