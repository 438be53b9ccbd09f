"""A plan's masks in plain training loops: exact zeros after every step, levels as planned, growth as published."""

import copy

import msgspec
import pytest
import torch
from torch import nn

from shrinkscope.compression import Mask
from shrinkscope.errors import CompressionError
from shrinkscope.integrations import PlanMasks, holds

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(16, 1, 6, 6, generator=GENERATOR)
TARGETS = torch.randint(0, 10, (16,), generator=GENERATOR)


def loss(network) -> torch.Tensor:
    return nn.functional.cross_entropy(network(INPUTS), TARGETS)


def rough(network) -> torch.optim.Optimizer:
    """An optimiser that would move zeros: momentum from before, and weight decay."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    loss(network).backward()
    optimizer.step()
    return optimizer


def zeros(network, made) -> list[int]:
    return [int((network.get_parameter(row.layer) == 0).sum()) for row in made.rows]


@pytest.fixture
def network(network):
    with torch.no_grad():  # no weight is zero by chance, so that zeros can be counted
        for parameter in network.parameters():
            parameter.add_(1e-3)
    return network


def test_masks_hold_inside_the_block_and_the_network_is_plain_behind_it(network, made):
    mask = made.mask(network)
    names = list(network.state_dict())
    with holds(network, made) as held:
        assert held == mask
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss(network).backward()
            optimizer.step()
            assert bool((network.stem.weight[~mask["stem.weight"]] == 0).all())
    assert list(network.state_dict()) == names
    assert zeros(network, made) == [row.removed for row in made.rows]


def test_the_block_is_left_plain_by_an_error_too(network, made):
    with pytest.raises(KeyError), holds(network, made.mask(network)):
        raise KeyError
    assert zeros(network, made) == [row.removed for row in made.rows]


def test_removed_weights_are_zero_after_every_step(network, made):
    optimizer = rough(network)
    mask = made.mask(network)
    masks = PlanMasks(network, made)
    assert masks.mask == mask
    for _ in range(3):
        optimizer.zero_grad()
        loss(network).backward()
        masks.mask_gradients()
        for name, kept in mask.items():
            assert bool((network.get_parameter(name).grad[~kept] == 0).all())
            assert bool((network.get_parameter(name).grad[kept] != 0).any())
        optimizer.step()
        assert zeros(network, made) != [row.removed for row in made.rows]  # momentum moves them without us
        masks.step()
        assert zeros(network, made) == [row.removed for row in made.rows]
    assert masks.sparsity == made.sparsity
    assert masks.mask == mask
    assert not [name for name in network.state_dict() if "mask" in name]


def test_training_is_that_of_held_masks(network, made):
    held = copy.deepcopy(network)
    masks = PlanMasks(network, made)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss(network).backward()
        optimizer.step()
        masks.step()
    with holds(held, made):
        optimizer = torch.optim.SGD(held.parameters(), lr=0.05, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            loss(held).backward()
            optimizer.step()
    for name, weight in network.named_parameters():
        # The same operations in the same order: equal to the last bit.
        assert torch.equal(weight, held.get_parameter(name)), name


def test_levels_grow_as_published_and_what_is_removed_stays_removed(network, made):
    optimizer = rough(network)
    masks = PlanMasks(network, made, steps=10, every=3)
    assert masks.sparsity == 0
    removed: dict[str, torch.Tensor] = {}
    for taken in range(1, 13):
        optimizer.zero_grad()
        loss(network).backward()
        optimizer.step()
        masks.step()
        last = 10 if taken >= 10 else taken // 3 * 3
        # Zhu & Gupta's s_f + (s_i − s_f)(1 − (t − t0)/(nΔt))³ with s_i = t0 = 0, in weights.
        expected = [round(row.removed - row.removed * (1 - last / 10) ** 3) for row in made.rows]
        assert zeros(network, made) == expected, taken
        for name, kept in masks.mask.items():
            assert not bool((kept & removed.get(name, ~kept)).any())
            removed[name] = ~kept
    assert masks.sparsity == made.sparsity


def test_training_goes_on_where_it_was_saved(network, made):
    def train(network, masks, steps):
        for _ in range(steps):
            network.zero_grad()
            loss(network).backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.05 * parameter.grad
            masks.step()

    masks = PlanMasks(network, made, steps=10, every=3)
    train(network, masks, 5)
    weights, state = copy.deepcopy(network.state_dict()), copy.deepcopy(masks.state_dict())
    train(network, masks, 6)
    other = copy.deepcopy(network)
    other.load_state_dict(weights)
    resumed = PlanMasks(other, made, steps=10, every=3)
    resumed.load_state_dict(state)
    assert resumed.taken == 5
    train(other, resumed, 6)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, other.get_parameter(name)), name


def test_what_cannot_be_kept_is_refused(network, made):
    with pytest.raises(CompressionError, match="the plan is for stem.weight, which is not there"):
        PlanMasks(nn.Linear(2, 2), made)
    moved = msgspec.structs.replace(made, settings=msgspec.structs.replace(made.settings, within="compensated"))
    with pytest.raises(CompressionError, match="this plan is for weights that make up for those that go"):
        PlanMasks(network, moved)
    with pytest.raises(CompressionError, match="steps is 5, but a mask says which weights go from the start"):
        PlanMasks(network, made.mask(network), steps=5)
    with pytest.raises(CompressionError, match="every is 0; expected a whole number of at least 1"):
        PlanMasks(network, made, every=0)
    masks = PlanMasks(network, made)
    with pytest.raises(CompressionError, match=r"no weight 'other.weight'"):
        masks.load_state_dict({"taken": 1, "kept": Mask({"other.weight": torch.ones(2, 2)})})
