"""Channels of the networks of the zoo."""

import copy

import torch

from shrinkscope.analysis.plan import plan
from shrinkscope.analysis.plan.channels.groups import channel_groups
from shrinkscope.analysis.traced.follow import followed_channels
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet
from shrinkscope.experiments.zoo.efficientnet_lite import EfficientNetLite0


def groups_of(network, inputs):
    channels = followed_channels(network, inputs)
    return {group.name: (len(group.classes), group.layers) for group in channel_groups(channels, channels.layers)}


def test_the_streams_of_a_cifar_resnet_are_nested():
    torch.manual_seed(0)
    found = groups_of(CifarResNet(2).eval(), torch.randn(2, 3, 32, 32))
    ends = [f"layer{stage}.{block}.conv2.weight" for stage in (1, 2, 3) for block in (0, 1)]
    # A later stage has its own channels around those that the shortcut hands on.
    assert found.pop("conv1.weight") == (16, ("conv1.weight", *ends))
    assert found.pop("layer2.0.conv2.weight") == (16, tuple(ends[2:]))
    assert found.pop("layer3.0.conv2.weight") == (32, tuple(ends[4:]))
    inner = {f"layer{stage}.{block}.conv1.weight": 8 << stage for stage in (1, 2, 3) for block in (0, 1)}
    assert found == {name: (channels, (name,)) for name, channels in inner.items()}


def test_efficientnet_is_made_narrower():
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    inputs = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = groups_of(network, inputs)
    assert found["_blocks.1._expand_conv.weight"] == (
        96,
        ("_blocks.1._expand_conv.weight", "_blocks.1._depthwise_conv.weight"),
    )
    assert found["_blocks.5._project_conv.weight"] == (
        80,
        tuple(f"_blocks.{block}._project_conv.weight" for block in (5, 6, 7)),
    )
    assert sum(channels for channels, _ in found.values()) == 11_024  # every width of its table
    made = plan(
        network,
        method="structured",
        sparsity=0.4,
        layers=[f"_blocks.{block}.*" for block in (11, 12, 13, 14, 15)] + ["_conv_head*"],
        inputs=inputs,
        allocation="uniform",
    )
    masked, smaller = copy.deepcopy(network), made.narrowed(network)
    made.apply(masked)
    with torch.no_grad():
        expected = masked(inputs)
        # Float32, 50 layers: the same sums with fewer terms.
        torch.testing.assert_close(smaller(inputs), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    # The inputs of the first planned layer, and the outputs of the last, belong to layers that are left alone.
    assert smaller.get_submodule("_blocks.11._expand_conv").in_channels == 112
    assert smaller.get_submodule("_blocks.12._depthwise_conv").groups < 1152
