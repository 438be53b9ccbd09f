"""Finding where a network ends, and refusing those that end elsewhere."""

import pytest
import torch
from torch import Tensor, nn

from shrinkscope.compression import MagnitudePruning, hold, prune
from shrinkscope.experiments.heads.locate import FeaturesError, features_of, find_head, head_layer
from shrinkscope.experiments.networks import new_network


def inputs(count: int = 3, width: int = 4) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


class Scaled(nn.Module):
    """Its output is not that of its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.fc(x)


class Twice(nn.Module):
    """Uses one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(x).relu())


class Elsewhere(nn.Module):
    """Registers last what it uses first, and has a layer that it never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.body = nn.Linear(4, 5)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())


@pytest.mark.parametrize("name", ["digits", "resnet20", "efficientnet_lite0"])
def test_the_features_of_the_zoos_networks_give_their_outputs(name):
    model = new_network(name, seed=1)
    shape = {"digits": (1, 8, 8), "resnet20": (3, 32, 32), "efficientnet_lite0": (3, 64, 64)}[name]
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    head = find_head(model, images)
    found = features_of(model, head, images)
    assert found.shape == (2, head_layer(model, head).in_features)
    # The same operation on the same numbers.
    assert torch.equal(head_layer(model, head)(found), model(images))


def test_the_last_layer_used_is_found_not_the_last_registered_one():
    model = Elsewhere()
    assert find_head(model, inputs()) == "head"
    assert torch.equal(features_of(model, "head", inputs()), model.body(inputs()).relu())


def test_a_held_mask_and_the_training_flags_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2))
    hold(model, prune(model, MagnitudePruning(level=0.5)))
    model.train()
    model[1].eval()
    assert find_head(model, inputs()) == "2"
    assert [module.training for module in model] == [True, False, True]
    assert not model[2]._forward_hooks


def test_a_vector_a_sample_is_needed():
    model = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(FeaturesError, match=r"0 is given inputs of shape \(3, 2, 4\), expected \(samples, features\)"):
        find_head(model, torch.zeros(3, 2, 4))


def test_networks_that_end_elsewhere_are_refused():
    with pytest.raises(FeaturesError, match="the output of Scaled is not that of its last linear layer fc"):
        find_head(Scaled(), inputs())
    with pytest.raises(FeaturesError, match="fc is used more than once"):
        find_head(Twice(), inputs())
    with pytest.raises(FeaturesError, match="Conv1d has no linear layer"):
        find_head(nn.Conv1d(3, 2, 1), torch.zeros(2, 3, 1))


def test_tied_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    with pytest.raises(FeaturesError, match=r"2\.weight is also 0\.weight"):
        find_head(model, inputs())


def test_a_layer_that_is_not_there_or_not_linear_is_named():
    model = Elsewhere()
    with pytest.raises(FeaturesError, match="unused is not used in a forward pass of Elsewhere"):
        features_of(model, "unused", inputs())
    with pytest.raises(FeaturesError, match="1 is a ReLU, expected a linear layer"):
        head_layer(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "1")
