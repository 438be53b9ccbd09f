"""Places of tensors as the checkpoints of well-known architectures name them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.analysis.place import place_of
from shrinkscope.weights.mapping import expert_group


@pytest.mark.parametrize(
    ("name", "block", "part", "family", "index"),
    [
        ("layer1.0.conv1.weight", "layer1.0", "conv1", "layer1", "0"),
        ("layer4.2.downsample.1.running_mean", "layer4.2", "downsample.1.running_mean", "layer4", "2"),
        ("model.layers.17.self_attn.q_proj.weight", "model.layers.17", "self_attn.q_proj", "model.layers", "17"),
        ("encoder.layer.3.output.dense.bias", "encoder.layer.3", "output.dense.bias", "encoder.layer", "3"),
        ("blocks.5.attn.qkv.weight", "blocks.5", "attn.qkv", "blocks", "5"),
        ("features.4.weight", "features.4", "weight", "features", "4"),
        ("features.3.1.block.0.0.weight", "features.3.1", "block.0.0", "features.3", "1"),
        ("transformer.h.3.attn.c_attn.weight", "transformer.h.3", "attn.c_attn", "transformer.h", "3"),
        (
            "encoder.layers.encoder_layer_3.mlp.0.weight",
            "encoder.layers.encoder_layer_3",
            "mlp.0",
            "encoder.layers.encoder_layer",
            "3",
        ),
        ("stages.0.blocks.1.conv.weight", "stages.0.blocks.1", "conv", "stages.0.blocks", "1"),
        ("layers.0.blocks.1.attn.qkv.weight", "layers.0.blocks.1", "attn.qkv", "layers.0.blocks", "1"),
        (
            "encoder.block.0.layer.1.DenseReluDense.wi.weight",
            "encoder.block.0",
            "layer.1.DenseReluDense.wi",
            "encoder.block",
            "0",
        ),
        ("down_blocks.0.resnets.1.conv1.weight", "down_blocks.0.resnets.1", "conv1", "down_blocks.0.resnets", "1"),
        (
            "features.denseblock1.denselayer12.norm1.weight",
            "features.denseblock1.denselayer12",
            "norm1",
            "features.denseblock1.denselayer",
            "12",
        ),
        (
            "model.layers.3.block_sparse_moe.experts.7.w1.weight",
            "model.layers.3",
            "block_sparse_moe.experts.*.w1",
            "model.layers",
            "3",
        ),
        ("0.weight", "0", "weight", "", "0"),
        ("conv1.weight", "conv1", "weight", "", "conv1"),
        ("model.embed_tokens.weight", "model.embed_tokens", "weight", "", "model.embed_tokens"),
        ("weight", "weight", "weight", "", "weight"),
    ],
)
def test_the_place_is_what_the_architecture_means(name, block, part, family, index):
    place = place_of(name)
    assert (place.block, place.part, place.family, place.index) == (block, part, family, index)


@given(
    st.lists(st.sampled_from(["layers", "0", "12", "conv1", "stage", "blocks", "experts", "weight", ""]), min_size=1)
)
def test_block_and_part_are_the_name_whatever_it_is(components):
    name = ".".join(components)
    place = place_of(name)
    assert name.startswith(place.block)
    if place.numbered:
        rest = name[len(place.block) + 1 :]
        rest = expert_group(rest) or rest
        assert place.part in (rest, rest.removesuffix(".weight"))
