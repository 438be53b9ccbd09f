"""Small networks and data, in float64."""

import pytest
import torch
from torch import nn

from shrinkscope.experiments.digits import DigitsNet, load_digits_split


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(torch.float64)


@pytest.fixture
def classes():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (30,), generator=generator)


@pytest.fixture
def numbers():
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randn(30, 3, generator=generator, dtype=torch.float64)


class Convolutional(nn.Module):
    """A convolution with batch norm, dropout and pooling before a linear head: what evaluation mode changes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs):
        hidden = torch.nn.functional.gelu(self.norm(self.conv(inputs)))
        return self.head(self.drop(torch.nn.functional.avg_pool2d(hidden, 2)).flatten(1))


@pytest.fixture
def conv():
    torch.manual_seed(3)
    network = Convolutional().to(torch.float64)
    network.norm.running_mean += 0.3
    network.norm.running_var *= 1.7
    return network


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(20, 1, 4, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (20,), generator=generator)


@pytest.fixture(scope="session")
def digits():
    """A briefly trained digits network in float64, with its held-out digits."""
    torch.manual_seed(5)
    network, split = DigitsNet(), load_digits_split()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    inputs, targets = split.train
    for rows in torch.arange(len(inputs)).split(128) * 2:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()
        optimiser.step()
    network.to(torch.float64)
    return network, (split.x_test.to(torch.float64), split.y_test)
