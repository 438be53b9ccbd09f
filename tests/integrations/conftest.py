"""A small network with what exports stumble over, and a plan for it."""

import pytest
import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan import Plan, plan


class Small(nn.Module):
    """Two convolutions whose outputs are added, a grouped one, a tied pair of linear layers, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.wide = nn.Conv2d(8, 16, 1)
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.stem(inputs)))
        hidden = torch.relu(hidden + self.block(hidden))
        hidden = torch.relu(self.wide(self.depthwise(hidden))).mean(dim=(2, 3))
        return self.head(torch.relu(self.second(torch.relu(self.first(hidden)))))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    network = Small().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # A grid of few values, so that many magnitudes are equal.
            parameter.copy_((parameter * 64).round() / 64)
    return network


@pytest.fixture
def network() -> Small:
    return small()


@pytest.fixture
def made(network) -> Plan:
    """Other levels for every layer."""
    return plan(network, sparsity=0.6, allocation="erk")
