"""K-FAC against curvlinops, against its definition written out, and against the dense Fisher where it is exact."""

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


def test_it_is_a_column_and_attention_is_not_measured():
    torch.manual_seed(5)

    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)
            self.idle = nn.Linear(4, 4)

        def forward(self, inputs):
            return self.head(self.attention(inputs, inputs, inputs)[0].mean(dim=1))

    model, other = Attentive().to(torch.float64), Attentive().to(torch.float64)
    inputs = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    latent = InformedGaussian(precisions=kronecker_fisher(model, inputs, draws=None).precisions())
    rows = {row.layer: row for row in compare(model, other, latents=[latent]).rows}
    assert rows["head.weight"].divergences["ap3_kfac"].value > 0
    for name in ("attention.in_proj_weight", "attention.out_proj.weight"):
        assert "computes attention in one piece" in rows[name].reason
        assert "ap3_kfac" not in rows[name].divergences
    assert rows["idle.weight"].reason == "ap3_kfac: its module was not called on these inputs"


def test_what_is_refused(network, inputs):
    with pytest.raises(CurvatureError, match=r"Kronecker factors of 4 layers needs about .* bytes"):
        kronecker_fisher(network, inputs, memory_limit=1000)
    one = kronecker_fisher(network, inputs)
    with pytest.raises(CurvatureError, match="4 layers with draws = 1 and 4 layers with draws = None cannot be merged"):
        one.merge(kronecker_fisher(network, inputs, draws=None))
    with pytest.raises(CurvatureError, match="and 1 layers with draws = 1 cannot be merged"):
        one.merge(kronecker_fisher(network, inputs, layers="7"))
