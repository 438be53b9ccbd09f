"""The networks of the allocation benchmark, who judges them, and what may be looked at without labels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from leaderboard_networks import Samples, imagenet_sample
from leaderboard_networks import subject as leaderboard_subject
from torch import Tensor, nn

from shrinkscope.experiments.zoo import load_data

NETWORKS = ("resnet20", "resnet32", "resnet56", "efficientnet_lite0", "lenet300", "digits", "transformer")
INPUTS = 512


class Subject(NamedTuple):
    """A network and its images.

    ``judge`` tells the accuracy; ``pool`` is what unlabelled inputs are drawn from, ``training`` what networks are
    trained on after pruning, None to leave that out; ``normalised`` says whether there is batch norm.
    """

    network: nn.Module
    judge: Samples
    pool: Tensor
    training: Samples | None

    @property
    def normalised(self) -> bool:
        """Whether there is batch norm."""
        return any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) for module in self.network.modules())

    def unlabelled(self, seed: int) -> Tensor:
        """Inputs to look at; the first of the pool for seed 0, drawn from all of it for others."""
        if seed == 0:
            return self.pool[:INPUTS]
        return self.pool[torch.randperm(len(self.pool), generator=torch.Generator().manual_seed(seed))[:INPUTS]]


def subject(name: str, folder: Path) -> Subject:
    """A network of the benchmark.

    Args:
        name: One of ``NETWORKS``.
        folder: The data.
    """
    given = leaderboard_subject(name, folder)
    if name in ("resnet20", "resnet32", "resnet56", "digits"):
        assert given.training is not None
        return Subject(given.network, given.judge, given.training[0], given.training)
    if name == "efficientnet_lite0":
        # One image a class: the first 256 of a random order are looked at, the others judge. Labels of the 256 are of
        # no use for the other classes: what the dense network predicts takes their place.
        images, labels = imagenet_sample(folder, np.random.default_rng(0).permutation(1000))
        with torch.inference_mode():
            soft = torch.cat([given.network(part).softmax(dim=1) for part in images[:256].split(8)])
        return Subject(given.network, (images[256:], labels[256:]), images[:256], (images[:256], soft.clone()))
    if name == "transformer":  # trained on the first 8,000
        images, labels = given.training or given.judge
        return Subject(given.network, given.judge, images[:2048], (images, labels))
    images, labels = load_data(str(folder / "mnist_t10k"))  # no training images of LeNet are there
    return Subject(given.network, (images[:-2048], labels[:-2048]), images[-2048:], (images[-2048:], labels[-2048:]))
