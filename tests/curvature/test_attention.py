"""Attention taken apart gives what torch's module gives, whatever its options, and the same derivatives."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shrinkscope.curvature.attention import OpenAttention, open_attention

# A few dozen products of order one in float64, in another order.
ROUNDING = {"rtol": 1e-11, "atol": 1e-12}


def both(**options):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, dropout=0.3, **options).to(torch.float64).eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter)  # biases too, which torch begins with zero
        parameter.requires_grad_(False)
    return attention, open_attention(copy.deepcopy(attention))


def masks(kind, queries, keys, batch, generator):
    """A mask of scores of one of the forms that torch takes; the first key is always allowed."""
    allowed = torch.rand(batch * 2, queries, keys, generator=generator) < 0.6
    allowed[..., 0] = True
    return {
        "none": None,
        "bool": ~allowed[0],
        "float": torch.randn(queries, keys, generator=generator, dtype=torch.float64),
        "heads": ~allowed,
    }[kind]


@settings(max_examples=60)
@given(
    options=st.fixed_dictionaries(
        {
            "batch_first": st.booleans(),
            "bias": st.booleans(),
            "add_bias_kv": st.booleans(),
            "add_zero_attn": st.booleans(),
            "kdim": st.sampled_from([None, 4]),
            "vdim": st.sampled_from([None, 5]),
        }
    ),
    mask=st.sampled_from(["none", "bool", "float", "heads"]),
    padded=st.booleans(),
    need_weights=st.booleans(),
    average=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:Support for mismatched")  # torch, of a bool and a float mask together
def test_it_is_torch_s_module_to_rounding(options, mask, padded, need_weights, average):
    attention, opened = both(**options)
    generator = torch.Generator().manual_seed(1)
    widths = (6, options["kdim"] or 6, options["vdim"] or 6)
    inputs = [
        torch.randn(3, length, width, generator=generator, dtype=torch.float64)
        for length, width in zip((4, 5, 5), widths, strict=True)
    ]
    if not options["batch_first"]:
        inputs = [one.transpose(0, 1) for one in inputs]
    keys = torch.tensor([[False] * 5, [False, False, True, True, False], [False, True, True, True, True]])
    named = {
        "attn_mask": masks(mask, 4, 5, 3, generator),
        "key_padding_mask": keys if padded else None,
        "need_weights": need_weights,
        "average_attn_weights": average,
    }
    truth, weights = attention(*inputs, **named)
    found, own = opened(*inputs, **named)
    torch.testing.assert_close(found, truth, **ROUNDING)
    assert (own is None) == (weights is None)
    if weights is not None:
        torch.testing.assert_close(own, weights, **ROUNDING)


@pytest.mark.parametrize("need_weights", [False, True])
def test_the_causal_hint_is_the_causal_mask(need_weights):
    attention, opened = both(batch_first=True)
    inputs = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    named = {"attn_mask": mask, "is_causal": True, "need_weights": need_weights}
    truth = attention(inputs, inputs, inputs, **named)[0]
    torch.testing.assert_close(opened(inputs, inputs, inputs, **named)[0], truth, **ROUNDING)
    free = attention(inputs, inputs, inputs)[0]
    assert float((free - truth).abs().max()) > 0.1  # the mask matters


@pytest.mark.parametrize("need_weights", [False, True])
def test_without_a_batch(need_weights):
    attention, opened = both(add_zero_attn=True)
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    padding = torch.tensor([False, False, True, False, True])
    named = {"key_padding_mask": padding, "need_weights": need_weights}
    truth, found = attention(inputs, inputs, inputs, **named), opened(inputs, inputs, inputs, **named)
    for one, other in zip(found, truth, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, **ROUNDING)


@pytest.mark.parametrize("need_weights", [False, True])
def test_gradients_are_those_of_torch_s_module(need_weights):
    attention, opened = both(batch_first=True, kdim=4)
    generator = torch.Generator().manual_seed(4)
    query, value = (torch.randn(2, 3, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    key = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    found = []
    for module in (attention, opened):
        parameters = [p.requires_grad_() for _, p in sorted(module.named_parameters())]
        output = module(query, key, value, need_weights=need_weights)[0]
        found.append(torch.autograd.grad(output.square().sum(), parameters))
    for truth, own in zip(*found, strict=True):
        torch.testing.assert_close(own, truth, rtol=1e-10, atol=1e-11)


def test_names_and_parameters_stay_and_other_classes_are_left_alone():
    class Scaled(nn.MultiheadAttention):
        def forward(self, *arguments, **named):
            output, weights = super().forward(*arguments, **named)
            return 2 * output, weights

    network = nn.ModuleDict({"plain": nn.MultiheadAttention(4, 2), "own": Scaled(4, 2)}).eval()
    before = {name: id(parameter) for name, parameter in network.named_parameters()}
    assert open_attention(network) is network
    assert {name: id(parameter) for name, parameter in network.named_parameters()} == before
    assert type(network["plain"]) is OpenAttention
    assert type(network["own"]) is Scaled


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_encoder_of_torch_works_with_it(batch_first):
    torch.manual_seed(5)
    encoder = nn.TransformerEncoderLayer(6, 2, dim_feedforward=8, batch_first=batch_first).to(torch.float64).eval()
    inputs = torch.randn(3, 3, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    padding = torch.tensor([[False, False, True]] * 3)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        truth = encoder(inputs, src_key_padding_mask=padding)
        found = open_attention(copy.deepcopy(encoder))(inputs, src_key_padding_mask=padding)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    torch.testing.assert_close(found, truth, **ROUNDING)
