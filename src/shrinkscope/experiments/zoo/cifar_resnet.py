"""The residual networks for CIFAR of He et al. (2016, Section 4.2): 6n + 2 layers, parameter-free shortcuts."""

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with batch norm; the shortcut drops every other pixel and pads channels with zeros.

    Args:
        incoming: Channels of the input.
        outgoing: Channels of the output, at least as many.
        stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.stride = stride
        self.new_channels = outgoing - incoming

    def forward(self, features: Tensor) -> Tensor:
        """Features of the next block."""
        hidden = self.bn2(self.conv2(self.bn1(self.conv1(features)).relu()))
        before = self.new_channels // 2
        shortcut = features[:, :, :: self.stride, :: self.stride]
        return (hidden + functional.pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before))).relu()


class CifarResNet(nn.Module):
    """Three stages of n blocks with 16, 32 and 64 channels; layers ``conv1``, ``layer1.0.conv1`` … ``linear``.

    Args:
        blocks: n, blocks a stage: 3 for ResNet-20, 5 for ResNet-32, 9 for ResNet-56.
        classes: Number of classes.
    """

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (batch, classes), of images (batch, 3, 32, 32)."""
        features = self.bn1(self.conv1(images)).relu()
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(features.mean(dim=(2, 3)))


def _stage(incoming: int, outgoing: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(incoming, outgoing, stride)
    return nn.Sequential(first, *(BasicBlock(outgoing, outgoing, 1) for _ in range(blocks - 1)))
