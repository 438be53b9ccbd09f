"""A small network with a way around two of its layers."""

import torch
from torch import nn


class Residual(nn.Module):
    """Three convolutions, one of them around, and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Conv2d(a, 5, 3, padding=1) for a in (2, 5, 5))
        self.norm, self.head = nn.BatchNorm2d(5), nn.Linear(5, 4)

    def forward(self, images):
        features = self.norm(self.first(images)).relu()
        features = features + self.third(self.second(features).relu())
        return 8 * self.head(features.amax(dim=(2, 3)))
