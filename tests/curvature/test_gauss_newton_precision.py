"""The exact Gauss-Newton latent against the dense Fisher information, which it equals for classifiers."""

import pytest
import torch
from torch import nn

from references.fisher import dense_fisher, dense_gaussian_fisher, dense_token_fisher
from shrinkscope.analysis import compare
from shrinkscope.curvature import gauss_newton_precisions
from shrinkscope.curvature.differentiate import load_curvlinops
from shrinkscope.errors import CurvatureError, DataError, LatentError
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


class OneKernel(nn.Module):
    """Causal attention in one call of torch, as in today's language models, or written out."""

    def __init__(self, fused):
        super().__init__()
        torch.manual_seed(5)
        self.fused, self.qkv, self.head = fused, nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, inputs):
        query, key, value = self.qkv(inputs).chunk(3, dim=-1)
        if self.fused:
            seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            later = torch.ones(inputs.shape[1], inputs.shape[1]).triu(1).bool()
            seen = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(later, float("-inf")).softmax(-1) @ value
        return self.head(seen.mean(dim=1))


def test_attention_in_one_kernel_is_differentiated_as_if_written_out():
    tokens = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    values = []
    for fused in (True, False):
        precision = gauss_newton_precisions(OneKernel(fused).double().eval(), tokens).of("qkv.weight", 48)
        x = torch.randn(48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        values.append(precision.quadratic(x))
    # The same operations in another order, in float64.
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    assert values[0] > 0


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


class Recurrent(nn.Module):
    """A language model whose positions see each other, and which returns a tuple."""

    def __init__(self):
        super().__init__()
        self.embedding, self.mix, self.head = nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5)

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        return None, self.head(torch.tanh(self.mix(hidden.cumsum(dim=1))) + hidden)


class Scores(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tokens):
        return self.inner(tokens)[1]


@pytest.mark.parametrize("name", ["embedding.weight", "mix.weight", "head.bias"])
def test_the_form_of_tokens_is_that_of_the_dense_fisher_information(name):
    torch.manual_seed(6)
    model = Recurrent().to(torch.float64)
    tokens = torch.randint(1, 5, (4, 3), generator=torch.Generator().manual_seed(7))
    tokens[1, 1:] = 0
    found = gauss_newton_precisions(
        model, iter([tokens[:3], tokens[3:]]), padding=0, outputs=lambda returned: returned[1], layers=name
    )[name]
    x = torch.randn(found.dim, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    truth = float(x @ dense_token_fisher(Scores(model), f"inner.{name}", tokens, tokens != 0) @ x)
    assert found.quadratic(x) == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("name", ["0.weight", "2.bias"])
def test_the_form_of_a_regression_is_that_of_the_dense_fisher_information(mlp, inputs, name):
    numbers = inputs.flatten(1)[:, :4]
    found = gauss_newton_precisions(mlp, numbers, kind="regression", scale=0.3, layers=name)[name]
    x = torch.randn(found.dim, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    truth = float(x @ dense_gaussian_fisher(mlp, name, numbers, 0.3) @ x)
    assert found.quadratic(x) == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("kind", ["regression", "tokens"])
def test_the_form_is_that_of_curvlinops(kind):
    torch.manual_seed(10)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).to(torch.float64)
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(6, 2, 3, generator=generator, dtype=torch.float64)
    settings = {"kind": "tokens"}
    operated, loss, targets, factor = nn.Sequential(*model, Swapped()), nn.CrossEntropyLoss(), torch.zeros(6, 2), 1.0
    if kind == "regression":
        # The curvature of the mean of ten squares is 2/10; of the sum over 2s² it is 1/s².
        settings = {"kind": "regression", "scale": 0.5}
        operated, loss, targets, factor = model, nn.MSELoss(), torch.zeros(6, 2, 5, dtype=torch.float64), 5 / 0.25
    data = [(inputs, targets.long() if kind == "tokens" else targets)]
    operator = load_curvlinops().GGNLinearOperator(operated, loss, [model[0].weight], data, num_data=6)
    found = gauss_newton_precisions(model, inputs, **settings, batch_size=4)["0.weight"]
    x = torch.randn(12, generator=generator, dtype=torch.float64)
    assert found.quadratic(x) == pytest.approx(factor * float(x @ (operator @ x)), rel=1e-10)


class Swapped(nn.Module):
    def forward(self, scores):
        return scores.transpose(1, 2)


def test_sequences_of_several_lengths_and_what_is_refused_of_predictions(mlp):
    torch.manual_seed(12)
    model = Scores(Recurrent()).to(torch.float64)
    batches = [torch.tensor([[1, 2, 3]]), torch.tensor([[4, 2]])]
    found = gauss_newton_precisions(model, iter(batches), layers="*mix.weight")["inner.mix.weight"]
    x = torch.ones(9, dtype=torch.float64)
    parts = [gauss_newton_precisions(model, one)["inner.mix.weight"].quadratic(x) for one in batches]
    assert found.quadratic(x) == pytest.approx(sum(parts) / 2, rel=1e-12)
    numbers = torch.ones(2, 4, dtype=torch.float64)
    with pytest.raises(DataError, match="a regression needs the standard deviation"):
        gauss_newton_precisions(mlp, numbers, kind="regression")
    with pytest.raises(DataError, match="padding is about positions of sequences, and the outputs are classes"):
        gauss_newton_precisions(mlp, numbers, padding=0)
    with pytest.raises(CurvatureError, match=r"expected logits of shape \(sequences, positions, vocabulary\)"):
        gauss_newton_precisions(mlp, numbers, kind="tokens")
