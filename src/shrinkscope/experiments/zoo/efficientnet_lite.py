"""EfficientNet-Lite0 for images of 224 × 224: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 throughout."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

# TensorFlow's, in which the network was trained: the variances that it remembers belong to this constant.
_EPSILON = 1e-3


class _Stage(NamedTuple):
    repeats: int
    outgoing: int
    kernel: int
    stride: int
    expansion: int


_STAGES = (
    _Stage(1, 16, 3, 1, 1),
    _Stage(2, 24, 3, 2, 6),
    _Stage(2, 40, 5, 2, 6),
    _Stage(3, 80, 3, 2, 6),
    _Stage(3, 112, 5, 1, 6),
    _Stage(4, 192, 5, 2, 6),
    _Stage(1, 320, 3, 1, 6),
)
_STEM, _HEAD = 32, 1280


class SamePadConv2d(nn.Conv2d):
    """A convolution without bias whose output has ⌈side/stride⌉ pixels a side; an odd row of zeros goes to the end.

    Args:
        incoming: Channels of the input.
        outgoing: Channels of the output.
        kernel: Pixels a side.
        stride: Stride of both sides.
        groups: As in ``nn.Conv2d``.
    """

    def __init__(self, incoming: int, outgoing: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(incoming, outgoing, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name that torch gives it
        """Features, shape (batch, channels, ⌈height/stride⌉, ⌈width/stride⌉)."""
        height, width = (_missing(input.shape[2 + i], self.kernel_size[i], self.stride[i]) for i in range(2))
        # What is even the convolution itself pads, without a copy of the features.
        if height % 2 or width % 2:
            input = pad(input, (0, width % 2, 0, height % 2))  # noqa: A001
        padding = height // 2, width // 2
        return conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class InvertedBottleneck(nn.Module):
    """1 × 1 expansion (where there is one), depthwise convolution, linear 1 × 1 projection, shortcut where shapes fit.

    Args:
        incoming: Channels of the input.
        outgoing: Channels of the output.
        kernel: Pixels a side of the depthwise convolution.
        stride: Its stride.
        expansion: Channels of the depthwise convolution over those of the input.
    """

    def __init__(self, incoming: int, outgoing: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = incoming * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SamePadConv2d(incoming, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._depthwise_conv = SamePadConv2d(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._project_conv = SamePadConv2d(inner, outgoing, 1)
        self._bn2 = nn.BatchNorm2d(outgoing, eps=_EPSILON)
        self.shortcut = stride == 1 and incoming == outgoing

    def forward(self, features: Tensor) -> Tensor:
        """Features of the next block."""
        hidden = features
        if self.expands:
            hidden = nn.functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = nn.functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + features if self.shortcut else hidden


class EfficientNetLite0(nn.Module):
    """Stem, 16 inverted bottlenecks, head; layers ``_conv_stem``, ``_blocks.0._depthwise_conv`` … ``_fc``.

    The names are those of the weights that were converted from TensorFlow. Images are (pixel − 127) / 128, of 224
    pixels a side.

    Args:
        classes: Number of classes.

    Source: Tan & Le (2019), Table 1, for the stages; the Lite variants keep stem and head at their size.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem = SamePadConv2d(3, _STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_EPSILON)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = SamePadConv2d(_STAGES[-1].outgoing, _HEAD, 1)
        self._bn1 = nn.BatchNorm2d(_HEAD, eps=_EPSILON)
        self._fc = nn.Linear(_HEAD, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, height, width)."""
        features = self.stem(images)
        for block in self._blocks:
            features = block(features)
        return self.head(features)

    def stem(self, images: Tensor) -> Tensor:
        """What the first block sees."""
        return nn.functional.relu6(self._bn0(self._conv_stem(images)))

    def head(self, features: Tensor) -> Tensor:
        """Class scores from what the last block returns."""
        hidden = nn.functional.relu6(self._bn1(self._conv_head(features)))
        return self._fc(torch.flatten(hidden.mean(dim=(2, 3)), 1))


def _blocks() -> list[InvertedBottleneck]:
    blocks, incoming = [], _STEM
    for stage in _STAGES:
        for index in range(stage.repeats):
            stride = stage.stride if index == 0 else 1
            blocks.append(InvertedBottleneck(incoming, stage.outgoing, stage.kernel, stride, stage.expansion))
            incoming = stage.outgoing
    return blocks


def _missing(side: int, kernel: int, stride: int) -> int:
    """Rows of zeros that the output needs for ⌈side/stride⌉ pixels."""
    return max((-(-side // stride) - 1) * stride + kernel - side, 0)
