"""K-FAC against curvlinops, against its definition written out, and against the dense Fisher where it is exact."""

import copy

import pytest
import torch
from torch import nn

from references.fisher import dense_fisher
from shrinkscope.analysis import compare
from shrinkscope.curvature import kronecker_fisher
from shrinkscope.curvature.differentiate import load_curvlinops
from shrinkscope.errors import CurvatureError
from shrinkscope.latent import InformedGaussian

# Sums of a few thousand float64 products in two orders.
ROUNDING = 1e-10


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.Tanh(),
        nn.Conv2d(3, 4, 2, dilation=2, bias=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )
    return model.to(torch.float64).eval()


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(9, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_quadratic_forms_agree_with_curvlinops(network, inputs):
    curvlinops = load_curvlinops()
    names = [name for name, _ in network.named_parameters() if name.endswith("weight")]
    weights = [dict(network.named_parameters())[name] for name in names]
    batches = [(inputs[:5], torch.zeros(5, dtype=torch.int64)), (inputs[5:], torch.zeros(4, dtype=torch.int64))]
    operator = curvlinops.KFACLinearOperator(
        network, nn.CrossEntropyLoss(), weights, batches, fisher_type="type-2", kfac_approx="expand", num_data=9
    )
    precisions = kronecker_fisher(network, inputs, draws=None, batch_size=4).precisions()
    generator = torch.Generator().manual_seed(2)
    for position, (name, weight) in enumerate(zip(names, weights, strict=True)):
        vectors = [torch.zeros_like(other).detach() for other in weights]
        vectors[position] = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        truth = sum(float((v * w).sum()) for v, w in zip(vectors, operator @ vectors, strict=True))
        assert precisions[name].quadratic(vectors[position].reshape(-1)) == pytest.approx(truth, rel=ROUNDING)


def test_with_one_input_and_one_position_it_is_the_fisher_information_itself(network, inputs):
    # F = E[ggᵀ] ⊗ xxᵀ: nothing is approximated.
    found = kronecker_fisher(network, inputs[:1], draws=None).precisions()["5.weight"]
    truth = dense_fisher(network, "5.weight", inputs[:1])
    x = torch.randn(20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert found.quadratic(x) == pytest.approx(float(x @ truth @ x), rel=ROUNDING)
    assert found.trace() == pytest.approx(float(truth.trace()), rel=ROUNDING)


def test_a_grouped_convolution_has_factors_for_each_group(inputs):
    torch.manual_seed(4)
    conv, head = nn.Conv2d(2, 4, 3, groups=2), nn.Linear(4, 3)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).to(torch.float64)
    a, g = kronecker_fisher(model, inputs, draws=None).value("0.weight")
    patches = nn.functional.unfold(inputs, 3).unflatten(1, (2, 9))  # samples, groups, columns, positions
    torch.testing.assert_close(a, torch.einsum("ngcp,ngdp->gcd", patches, patches) / (9 * 16), rtol=1e-12, atol=0)
    probabilities = model(inputs).softmax(dim=1).detach()
    bend = torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None, :]
    # The mean over 16 positions gives each the gradient Wᵀ(y − p)/16; G sums over the 16.
    weight = head.weight.detach()
    outside = torch.einsum("ca,ncd,db->ab", weight, bend, weight) / 9 / 16
    torch.testing.assert_close(g, torch.stack([outside[:2, :2], outside[2:, 2:]]), rtol=1e-9, atol=1e-12)


def test_drawn_labels_average_to_the_expectation(network, inputs):
    expected = kronecker_fisher(network, inputs, draws=None).value("7.weight")[1]
    draws = 500
    runs = torch.stack(
        [
            kronecker_fisher(network, inputs, draws=draws // 20, generator=torch.Generator().manual_seed(seed)).value(
                "7.weight"
            )[1]
            for seed in range(20)
        ]
    )
    error = runs.std(dim=0) / 20**0.5
    # Six entries, Student's t with 19 degrees of freedom beyond 5: 8e-5 each, 5e-4 together; the seeds are fixed.
    assert bool(((runs.mean(dim=0) - expected).abs() < 5 * error).all())
    assert bool((expected.abs() > 10 * error).any())


def test_workers_merge(network, inputs):
    whole = kronecker_fisher(network, inputs, draws=None)
    merged = kronecker_fisher(network, inputs[:4], draws=None).merge(kronecker_fisher(network, inputs[4:], draws=None))
    for name in whole.layers:
        for one, other in zip(whole.value(name), merged.value(name), strict=True):
            torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)
    assert merged.samples == 9


class Attentive(nn.Module):
    """Attention to keys and values of their own, as torch's module or as four linear layers."""

    def __init__(self, attention):
        super().__init__()
        self.attention, self.head = attention, nn.Linear(4, 3)
        self.idle = nn.Linear(4, 4)

    def forward(self, inputs):
        return self.head(torch.tanh(self.attention(inputs, inputs[:, :2], inputs[:, 1:3])[0]).mean(dim=1))


class LinearAttention(nn.Module):
    """Multi-head attention from linear layers, written out."""

    def __init__(self, weights, biases):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        with torch.no_grad():
            for layer, weight, bias in zip(self.layers, weights, biases, strict=True):
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)

    def forward(self, query, key, value):
        q, k, v = (
            layer(one).unflatten(-1, (2, 2)).transpose(1, 2)
            for layer, one in zip(self.layers, (query, key, value), strict=False)
        )
        mixed = torch.softmax(q @ k.mT / 2**0.5, dim=-1) @ v
        return self.layers[3](mixed.transpose(1, 2).flatten(2)), None


def attentive():
    """The same network twice: with torch's attention, and with linear layers."""
    torch.manual_seed(5)
    fused = Attentive(nn.MultiheadAttention(4, 2, batch_first=True))
    attention = fused.attention
    nn.init.normal_(attention.in_proj_bias)
    weights = [*attention.in_proj_weight.chunk(3), attention.out_proj.weight]
    written = Attentive(LinearAttention(weights, [*attention.in_proj_bias.chunk(3), attention.out_proj.bias]))
    written.head.load_state_dict(fused.head.state_dict())
    inputs = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return fused.to(torch.float64).eval(), written.to(torch.float64).eval(), inputs


def test_attention_has_the_factors_that_curvlinops_gives_its_projections():
    fused, written, inputs = attentive()
    torch.testing.assert_close(fused(inputs), written(inputs))
    curvlinops = load_curvlinops()
    weights = [layer.weight for layer in written.attention.layers]
    data = [(inputs, torch.zeros(5, dtype=torch.int64))]
    operator = curvlinops.KFACLinearOperator(
        written, nn.CrossEntropyLoss(), weights, data, fisher_type="type-2", kfac_approx="expand", num_data=5
    )
    precisions = kronecker_fisher(fused, inputs, draws=None, batch_size=2).precisions()
    generator = torch.Generator().manual_seed(7)
    vectors = [torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(4)]
    truth = [float((v * w).sum()) for v, w in zip(vectors, operator @ vectors, strict=True)]
    packed = precisions["attention.in_proj_weight"].quadratic(torch.cat(vectors[:3]).reshape(-1))
    assert packed == pytest.approx(sum(truth[:3]), rel=ROUNDING)
    own = precisions["attention.out_proj.weight"].quadratic(vectors[3].reshape(-1))
    assert own == pytest.approx(truth[3], rel=ROUNDING)


@pytest.mark.parametrize(
    "layer", [nn.ConvTranspose2d(4, 6, (2, 3), stride=(2, 1), padding=1, groups=2), nn.ConvTranspose1d(2, 3, 2)]
)
def test_a_transposed_convolution_against_its_definition(layer):
    torch.manual_seed(8)
    layer, spatial, groups = copy.deepcopy(layer).to(torch.float64), len(layer.kernel_size), layer.groups
    inputs = torch.randn(3, layer.in_channels, *(3, 4)[:spatial], dtype=torch.float64)
    size = layer(inputs).shape[2:]
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(layer(inputs)[0].numel(), 3, dtype=torch.float64))
    weight = layer.weight.detach()
    jacobian = torch.func.jacrev(lambda w: torch.func.functional_call(layer, {"weight": w}, (inputs,)))(weight)
    jacobian = jacobian.detach().flatten(2, 1 + spatial).flatten(5)  # input, output, position, in, out of group, kernel
    probabilities = model(inputs).softmax(dim=1).detach()
    heads = [
        torch.func.jacrev(lambda z: torch.log_softmax(model[1:](z[None])[0], dim=0))(layer(one[None])[0].detach())
        for one in inputs
    ]
    slopes = torch.stack(heads).detach().flatten(3)  # input, class, output, position
    outside = torch.einsum("nc,ncop,ncqp->oq", probabilities, slopes, slopes) / 3
    own_in, own_out = layer.in_channels // groups, layer.out_channels // groups
    dense = torch.zeros(weight.numel(), weight.numel(), dtype=torch.float64)
    index = torch.arange(weight.numel()).reshape(groups, own_in, own_out, -1)
    for group in range(groups):
        rows = slice(group * own_in, (group + 1) * own_in)
        first = jacobian[:, group * own_out, :, rows, 0].flatten(2)  # input, position, (in, kernel)
        inside = torch.einsum("npi,npj->ij", first, first) / (3 * size.numel())
        for one in range(own_out):
            for other in range(own_out):
                places = index[group, :, one].reshape(-1, 1), index[group, :, other].reshape(1, -1)
                dense[places] = outside[group * own_out + one, group * own_out + other] * inside
    found = kronecker_fisher(model, inputs, draws=None, layers="0").precisions()["0.weight"]
    x = torch.randn(weight.numel(), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert found.quadratic(x) == pytest.approx(float(x @ dense @ x), rel=ROUNDING)
    assert found.trace() == pytest.approx(float(dense.trace()), rel=ROUNDING)
    assert found.rank() <= found.dim == weight.numel()


def test_it_is_a_column_and_what_was_not_called_says_so():
    model, _, inputs = attentive()
    other = Attentive(nn.MultiheadAttention(4, 2, batch_first=True)).to(torch.float64)
    latent = InformedGaussian(precisions=kronecker_fisher(model, inputs, draws=None).precisions())
    rows = {row.layer: row for row in compare(model, other, latents=[latent]).rows}
    for name in ("head.weight", "attention.in_proj_weight", "attention.out_proj.weight"):
        assert rows[name].divergences["ap3_kfac"].value > 0
    assert rows["idle.weight"].reason == "ap3_kfac: its module was not called on these inputs"


def test_what_is_refused(network, inputs):
    with pytest.raises(CurvatureError, match=r"Kronecker factors of 4 layers needs about .* bytes"):
        kronecker_fisher(network, inputs, memory_limit=1000)
    one = kronecker_fisher(network, inputs)
    with pytest.raises(CurvatureError, match="draws = 1 and None cannot be merged"):
        one.merge(kronecker_fisher(network, inputs, draws=None))
    with pytest.raises(CurvatureError, match="4 layers and 1 layers cannot be merged"):
        one.merge(kronecker_fisher(network, inputs, layers="7"))
