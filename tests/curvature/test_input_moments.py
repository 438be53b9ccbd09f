"""The input latent is half the output error of each layer as measured by running it with both weights."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shrinkscope.analysis import compare
from shrinkscope.curvature import input_moments
from shrinkscope.curvature import layer_rows as rows_module
from shrinkscope.errors import CurvatureError
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
    "up": (nn.ConvTranspose2d(4, 6, 3), (5, 4, 4, 3)),
    "up, grouped": (nn.ConvTranspose2d(4, 6, (3, 2), groups=2, stride=2, padding=1, output_padding=1), (5, 4, 3, 4)),
    "up, dilated": (nn.ConvTranspose2d(3, 2, 3, dilation=(2, 1), stride=(1, 3), padding=(0, 1)), (5, 3, 4, 3)),
    "up, cropped": (nn.ConvTranspose2d(3, 2, 2, stride=2, padding=1), (5, 3, 4, 5)),
    "up, one": (nn.ConvTranspose1d(4, 2, 5, stride=3, padding=2, output_padding=2), (5, 4, 6)),
    "up, three": (nn.ConvTranspose3d(2, 4, (2, 3, 1), groups=2, stride=(1, 2, 1)), (5, 2, 3, 2, 3)),
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


def test_a_transposed_convolution_with_a_size_of_its_own():
    class Upsampled(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 3, 3, stride=2)

        def forward(self, inputs):
            return self.up(inputs, output_size=[8, 7])

    torch.manual_seed(4)
    model = Upsampled().to(torch.float64)
    inputs = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    other = perturbed(model)
    assert ap3(model, other, inputs) == {"up.weight": pytest.approx(measured(model, other, inputs), rel=ROUNDING)}


@pytest.mark.parametrize("structure", ["full", "block", "diagonal"])
def test_blocks_of_a_transposed_convolution_are_those_of_the_whole(structure):
    torch.manual_seed(6)
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2)).to(torch.float64)
    inputs = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    found = input_moments(model, inputs, structure=structure).precisions()["0.weight"]
    dense = dense_output_form(model[0], inputs)
    where = torch.zeros(4, 3, 4, dtype=torch.int64)  # input, output of its group, kernel
    if structure == "block":
        where += torch.arange(4)[:, None, None]
    if structure == "diagonal":
        where = torch.arange(48).reshape(4, 3, 4)
    kept = dense * (where.reshape(-1, 1) == where.reshape(1, -1))
    x = torch.randn(48, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    assert found.quadratic(x) == pytest.approx(float(x @ kept @ x), rel=ROUNDING)
    assert found.trace() == pytest.approx(float(dense.trace()), rel=ROUNDING)
    assert found.dim == 48


def dense_output_form(layer, inputs):
    """E[JᵀJ] with J the Jacobian of the layer's output in its stored weight, by automatic differentiation."""
    weight = layer.weight.detach()
    jacobian = torch.func.jacrev(lambda w: torch.func.functional_call(layer, {"weight": w}, (inputs,)))(weight)
    flat = jacobian.reshape(-1, weight.numel()).detach()
    return flat.T @ flat / len(inputs)


def test_a_linear_layer_sums_over_tokens():
    model = nn.Sequential(nn.Linear(5, 3)).to(torch.float64)
    inputs = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    other = perturbed(model)
    assert ap3(model, other, inputs) == {"0.weight": pytest.approx(measured(model, other, inputs), rel=ROUNDING)}
    truth = torch.einsum("nti,ntj->ij", inputs, inputs) / 6
    torch.testing.assert_close(input_moments(model, inputs).value("0.weight")[0, 0], truth, rtol=ROUNDING, atol=0)


class Attentive(nn.Module):
    """Two attentions, one with its own keys and values, in batch-second order, and tied linear layers."""

    def __init__(self):
        super().__init__()
        self.one = nn.MultiheadAttention(4, 2, batch_first=True)
        self.two = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.PReLU()

    def forward(self, inputs):
        hidden = self.one(inputs, inputs[:, :2], value=inputs[:, :2], need_weights=False)[0].transpose(0, 1)
        hidden = self.two(query=hidden, key=inputs[:, :, :3].transpose(0, 1), value=wide(inputs).transpose(0, 1))[0]
        return self.second(torch.tanh(self.first(hidden))).mean(dim=0)


def wide(inputs):
    return torch.cat([inputs, inputs[:, :, :1] ** 2], dim=2)


@pytest.fixture(scope="module")
def attentive():
    torch.manual_seed(7)
    return Attentive().to(torch.float64).eval()


@pytest.fixture(scope="module")
def tokens():
    return torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def projected_error(weight, other, x):
    return 0.5 * float((x @ (weight - other).detach().T).square().sum())


def test_attention_is_measured_projection_by_projection(attentive, tokens):
    other = perturbed(attentive)
    found = ap3(attentive, other, tokens, batch_size=4)
    own, changed = dict(attentive.named_parameters()), dict(other.named_parameters())
    with torch.no_grad():
        middle = attentive.one(tokens, tokens[:, :2], tokens[:, :2])[0]
        # What the output projection is given, by scaled dot-product attention written out.
        query, key, value = own["one.in_proj_weight"].chunk(3)
        biases = own["one.in_proj_bias"].chunk(3)
        q, k, v = (
            (x @ w.T + b).unflatten(-1, (2, 2)).transpose(1, 2)
            for x, w, b in zip((tokens, tokens[:, :2], tokens[:, :2]), (query, key, value), biases, strict=True)
        )
        heads = (torch.softmax(q @ k.mT / 2**0.5, dim=-1) @ v).transpose(1, 2).flatten(2)
    parts = zip(own["one.in_proj_weight"].chunk(3), changed["one.in_proj_weight"].chunk(3), strict=True)
    inputs = (tokens, tokens[:, :2], tokens[:, :2])
    truth = {
        "one.in_proj_weight": sum(projected_error(*pair, x) for pair, x in zip(parts, inputs, strict=True)),
        "one.out_proj.weight": projected_error(own["one.out_proj.weight"], changed["one.out_proj.weight"], heads),
        "two.q_proj_weight": projected_error(own["two.q_proj_weight"], changed["two.q_proj_weight"], middle),
        "two.k_proj_weight": projected_error(own["two.k_proj_weight"], changed["two.k_proj_weight"], tokens[..., :3]),
        "two.v_proj_weight": projected_error(own["two.v_proj_weight"], changed["two.v_proj_weight"], wide(tokens)),
    }
    for name, value in truth.items():
        assert found[name] == pytest.approx(value / 6, rel=ROUNDING)


def test_a_tied_weight_sums_over_the_layers_that_use_it(attentive, tokens):
    other = perturbed(attentive, {"first.weight"})
    seen = []
    hooks = [m.register_forward_pre_hook(lambda _, x: seen.append(x[0])) for m in (attentive.first, attentive.second)]
    with torch.no_grad():
        attentive(tokens)
    for hook in hooks:
        hook.remove()
    truth = sum(projected_error(attentive.first.weight, other.first.weight, x) for x in seen) / 6
    precisions = input_moments(attentive, tokens).precisions()
    assert ap3(attentive, other, tokens)["first.weight"] == pytest.approx(truth, rel=ROUNDING)
    assert precisions["second.weight"] is precisions["first.weight"]


def test_the_fused_encoder_of_torch_is_seen_through():
    torch.manual_seed(9)
    encoder = nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, batch_first=True).to(torch.float64).eval()
    tokens = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = input_moments(encoder, tokens).precisions()
    weights = {name for name, parameter in encoder.named_parameters() if parameter.ndim == 2}
    assert set(found) == weights
    truth = torch.einsum("nti,ntj->ij", tokens, tokens) / 3
    torch.testing.assert_close(found["self_attn.in_proj_weight"].right[1, 0], truth, rtol=1e-12, atol=1e-12)


class Residual(nn.Module):
    """In-place operations, a grouped convolution, batch norm and a linear head: layers inside a network."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.group = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)
        self.idle = nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = self.relu(self.norm(self.stem(inputs)))
        hidden = self.group(hidden) + hidden
        return self.head(self.relu(hidden).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(10)
    return Residual().to(torch.float64)


@pytest.fixture(scope="module")
def images():
    return torch.randn(7, 3, 6, 6, generator=torch.Generator().manual_seed(11), dtype=torch.float64)


def test_in_the_network_each_layer_s_output_error_is_measured(residual, images):
    other = perturbed(residual)
    found = ap3(residual, other, images, batch_size=3)
    inputs = {}
    evaluated = copy.deepcopy(residual).eval()
    for name in ("stem", "group", "head"):
        module = evaluated.get_submodule(name)
        module.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0].clone()}))
    with torch.no_grad():
        evaluated(images)
    for name, value in inputs.items():
        truth = measured(residual.get_submodule(name), other.get_submodule(name), value)
        assert found[f"{name}.weight"] == pytest.approx(truth, rel=ROUNDING)
    assert residual.training  # the network itself is left as it was


def test_what_has_no_moment_says_why(residual, attentive, images, tokens):
    for model, inputs in ((residual, images), (attentive, tokens)):
        moments = input_moments(model, inputs)
        latent = InformedGaussian(precisions=moments.precisions())
        rows = {row.layer: row for row in compare(model, perturbed(model), latents=[latent]).rows}
        for name, row in rows.items():
            assert ("ap3_input" in row.divergences) == (row.reason is None)
            assert row.reason is None or "ap3_input: " in row.reason or "not weights" in row.reason, name
        if model is residual:
            assert rows["idle.weight"].reason == "ap3_input: its module was not called on these inputs"
            assert "no input is known for the weight of a BatchNorm2d" in rows["norm.weight"].reason
        else:
            assert "no input is known for the weight of a PReLU" in rows["scale.weight"].reason


def test_a_layer_that_changes_its_weight_on_the_way_is_not_measured():
    class Standardised(nn.Conv2d):
        def forward(self, inputs):
            weight = (self.weight - self.weight.mean()) / self.weight.std()
            return self._conv_forward(inputs, weight, self.bias)

    model = nn.Sequential(Standardised(2, 2, 3)).to(torch.float64)
    moments = input_moments(model, torch.ones(1, 2, 4, 4, dtype=torch.float64))
    assert "no input is known for the weight: its module convolves with another" in moments.absent["0.weight"]
    assert "0.weight" not in moments.layers


def test_a_weight_tied_between_unlike_layers_is_not_measured():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain, self.grouped = nn.Conv1d(2, 4, 1), nn.Conv1d(4, 4, 1, groups=2)
            self.grouped.weight = self.plain.weight
            self.table, self.out = nn.Embedding(3, 2), nn.Linear(2, 3)
            self.out.weight = self.table.weight

        def forward(self, inputs):
            return self.grouped(self.plain(inputs))

    found = input_moments(Tied().to(torch.float64), torch.ones(1, 2, 4, dtype=torch.float64)).absent
    assert found["plain.weight"] == found["grouped.weight"] == "tied between layers with different groups"
    assert "no input is known for the weight of a Embedding" in found["out.weight"]


@settings(max_examples=20)
@given(cut=st.integers(1, 6), seed=st.integers(0, 1000), structure=st.sampled_from(["full", "block", "diagonal"]))
def test_workers_merge_and_order_and_batches_do_not_matter(cut, seed, structure):
    torch.manual_seed(seed)
    model = Residual().to(torch.float64)
    inputs = torch.randn(7, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    whole = input_moments(model, inputs, structure=structure)
    shuffled = [inputs[order[:cut]], inputs[order[cut:]]]
    merged = input_moments(model, shuffled[0], structure=structure, batch_size=2).merge(
        input_moments(model, [shuffled[1]], structure=structure)
    )
    assert (merged.samples, merged.structure) == (7, structure)
    for name in ("stem.weight", "group.weight", "head.weight"):
        torch.testing.assert_close(merged.value(name), whole.value(name), rtol=ROUNDING, atol=ROUNDING)
        assert merged.layers[name].moment.vectors == whole.layers[name].moment.vectors


def test_names_and_the_diagonal_of_whole_moments(residual, images):
    whole = input_moments(residual, images)
    names = [whole.precisions().name, whole.precisions(diagonal=True).name]
    names += [input_moments(residual, images, structure=s).precisions().name for s in ("block", "diagonal")]
    assert names == ["input", "input_diagonal", "input_block", "input_diagonal"]
    direct = input_moments(residual, images, structure="diagonal").precisions()
    for name, precision in whole.precisions(diagonal=True).items():
        torch.testing.assert_close(precision.right, direct[name].right, rtol=ROUNDING, atol=0)


def test_what_is_refused(residual, images):
    with pytest.raises(CurvatureError, match=r"full second moments of the inputs of 4 layers needs about .* bytes"):
        input_moments(residual, images, memory_limit=10_000)
    with pytest.raises(CurvatureError, match="structure = 'half'"):
        input_moments(residual, images, structure="half")
    one = input_moments(residual, images)
    with pytest.raises(CurvatureError, match="full moments of 4 layers and diagonal moments of 4 layers"):
        one.merge(input_moments(residual, images, structure="diagonal"))
    with pytest.raises(CurvatureError, match="full moments of 4 layers and full moments of 1 layers"):
        one.merge(input_moments(residual, images, layers="head"))


def test_progress_counts_inputs(residual, images):
    seen = []
    input_moments(residual, images, batch_size=3, progress=seen.append)
    assert seen == [3, 6, 7]
