"""Networks and data for the tests of compression."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def network() -> nn.Module:
    """A convolution with batch norm and two linear layers, in float64."""
    torch.manual_seed(3)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(1, 6, 3),
        norm=nn.BatchNorm2d(6),
        active=nn.ReLU(),
        flat=nn.Flatten(),
        hidden=nn.Linear(6 * 6 * 6, 12),
        active2=nn.ReLU(),
        head=nn.Linear(12, 4, bias=False),
    )
    return nn.Sequential(layers).to(torch.float64)


@pytest.fixture
def train(network: nn.Module) -> Callable[..., Tensor]:
    """A function that trains a network for a number of epochs on a fixed problem."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(96, 1, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (96,), generator=generator)

    def run(model: nn.Module, optimiser: torch.optim.Optimizer, epochs: int = 3) -> Tensor:
        loss = torch.zeros(())
        for _ in range(epochs):
            for batch, labels in zip(inputs.split(32), targets.split(32), strict=True):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(batch), labels)
                loss.backward()
                optimiser.step()
        return loss.detach()

    return run


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's weight, transposed back by being square."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(5, 5, bias=False)
        self.decode = nn.Linear(5, 5, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decode(torch.relu(self.encode(inputs)))


@pytest.fixture
def tied() -> nn.Module:
    """Two layers with one weight, in float64."""
    torch.manual_seed(4)
    return Tied().to(torch.float64)
