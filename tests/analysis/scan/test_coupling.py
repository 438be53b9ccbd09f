import torch
from torch import nn

from shrinkscope.analysis.scan import scan
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet


def reasons(model, inputs):
    found = scan(model.eval(), inputs=inputs, methods=["structured", "lowest"], levels=[0.5], early_stop=False)
    assert all(row.reason is None for row in found.rows if row.method == "lowest")
    assert all(row.measurable for row in found.rows)
    return {row.layer.removesuffix(".weight"): row.reason for row in found.rows if row.method == "structured"}


def test_layers_that_end_in_a_residual_sum_say_so_and_those_within_a_block_do_not():
    torch.manual_seed(0)
    found = reasons(CifarResNet(1), torch.randn(4, 3, 32, 32))
    coupled = {name for name, reason in found.items() if reason and "another branch" in reason}
    # Shortcuts are sliced and padded here, which is not followed: the first convolution, too, is in the first sum.
    assert coupled == {"layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"}
    assert all(reason is None for name, reason in found.items() if name not in coupled)


def test_a_layer_before_a_depthwise_convolution_says_so():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(64, 3)
    )
    found = reasons(model, torch.randn(5, 1, 8, 8))
    assert found["0"] == "its channels go into the depthwise 3 one by one: cutting one out takes both"
    assert found["3"] is None
    assert found["5"] is None
