"""Batch norm statistics estimated anew, against the statistics of one batch of everything."""

import copy

import pytest
import torch
from torch import nn

from shrinkscope.errors import DataError
from shrinkscope.performance import reestimate_statistics


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(12, 4),
        nn.BatchNorm1d(4),
    ).double()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def images(count, seed=1):
    return torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_batch_gives_its_own_statistics(network):
    inputs = images(64)
    first = network[0](inputs)
    assert reestimate_statistics(network, inputs) == 2
    flat = first.transpose(0, 1).flatten(1)
    torch.testing.assert_close(network[1].running_mean, flat.mean(1), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(network[1].running_var, flat.var(1), rtol=1e-12, atol=0)
    seen = (first - flat.mean(1).view(1, 3, 1, 1)) / (flat.var(1, correction=0) + network[1].eps).sqrt().view(
        1, 3, 1, 1
    )
    last = network[5](seen.relu().flatten(1))  # without dropout: the network is in evaluation mode but for its norms
    torch.testing.assert_close(network[6].running_mean, last.mean(0), rtol=1e-10, atol=1e-12)


def test_batches_are_averaged_by_their_number_of_inputs(network):
    inputs = images(30)
    other = copy.deepcopy(network)
    reestimate_statistics(network, iter([inputs[:20], inputs[20:]]))
    parts = []
    for part in (inputs[:20], inputs[20:]):
        reestimate_statistics(other, part)
        parts.append(other[1].running_mean.clone())
    torch.testing.assert_close(network[1].running_mean, (2 * parts[0] + parts[1]) / 3, rtol=1e-12, atol=1e-14)


def test_nothing_else_changes(network):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    momenta = [network[1].momentum, network[6].momentum]
    reestimate_statistics(network, images(129), batch_size=128)  # no batch of one is left
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{layer}.running_{what}" for layer in (1, 6) for what in ("mean", "var")}
    assert [network[1].momentum, network[6].momentum] == momenta
    assert all(module.training for module in network.modules())


def test_a_network_that_remembers_nothing_reads_nothing():
    def never():
        raise AssertionError
        yield

    assert reestimate_statistics(nn.Linear(2, 2), never()) == 0


def test_progress_counts_inputs(network):
    told = []
    reestimate_statistics(network, images(40), batch_size=10, progress=told.append)
    assert told == [10, 20, 30, 40]


def test_a_failure_leaves_the_network_as_it_was(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(DataError, match="a batch of one input has no variance"):
        reestimate_statistics(network, iter([images(8), images(1)]))
    with pytest.raises(DataError, match="the network failed on inputs of shape"):
        reestimate_statistics(network, iter([images(8), images(8)[:, :1]]))
    with pytest.raises(DataError, match="holds no sample"):
        reestimate_statistics(network, [])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network[1].momentum == 0.1
