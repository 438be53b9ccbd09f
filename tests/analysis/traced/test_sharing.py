import torch
from torch import nn

from shrinkscope.analysis.scan import scan
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet


def reasons(model, inputs):
    found = scan(model.eval(), inputs=inputs, methods=["structured", "lowest"], levels=[0.5], early_stop=False)
    assert all(row.reason is None for row in found.rows if row.method == "lowest")
    assert all(row.measurable for row in found.rows)
    return {row.layer.removesuffix(".weight"): row.reason for row in found.rows if row.method == "structured"}


def test_layers_of_a_residual_stream_name_each_other_and_those_within_a_block_do_not():
    torch.manual_seed(0)
    found = reasons(CifarResNet(2), torch.randn(4, 3, 32, 32))
    streams = [name for name in found if name == "conv1" or name.endswith("conv2")]
    assert {name for name, reason in found.items() if reason} == set(streams)
    # Shortcuts are sliced and padded: all but the new channels of a stage are those of the stage before.
    for name in streams:
        assert found[name].startswith("its channels are those of ")
        assert found[name].endswith(", too: cutting one out takes it from all")
    assert "conv1.weight" in found["layer1.0.conv2"]
    assert "layer1.0.conv2.weight" in found["conv1"]


def test_a_layer_before_a_depthwise_convolution_says_so_and_so_does_that_one():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(64, 3)
    )
    found = reasons(model, torch.randn(5, 1, 8, 8))
    assert found["0"] == "its channels are those of 3.weight, too: cutting one out takes it from all"
    assert found["3"] == "its channels are those of 0.weight, too: cutting one out takes it from all"
    assert found["5"] is None


def test_a_network_that_cannot_be_traced_says_nothing_of_its_channels():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, inputs):
            return self.second(inputs) + self.first(inputs) if inputs.sum() > 0 else self.first(inputs)

    torch.manual_seed(0)
    assert set(reasons(Branching(), torch.rand(5, 4)).values()) == {None}
