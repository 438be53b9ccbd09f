"""The joint damage against a copy of the network that is pruned and run as a whole."""

import copy

import pytest
import torch

from references.residual import Residual
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.slopes import divergence_to, total_variation_to
from shrinkscope.compression import MagnitudePruning, prune
from shrinkscope.performance import Reading
from shrinkscope.performance.regression import gaussian_distances


class Untraceable(Residual):
    """The same, with a branch on a value."""

    def forward(self, images):
        return super().forward(images if images.sum() < 1e9 else -images)


@pytest.fixture
def network():
    return Residual().to(torch.float64).eval()


INPUTS = torch.randn(12, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LAYERS = ["first.weight", "second.weight", "third.weight", "head.weight"]
COUNTS = [(30, 0, 0, 0), (30, 100, 0, 5), (30, 100, 150, 5), (0, 100, 150, 19), (89, 224, 2, 0)]


def slowly(network, counts, inputs=INPUTS):
    """KL of every input, from a pruned copy run on all inputs at once."""
    pruned = copy.deepcopy(network)
    for layer, count in counts.items():
        if count:
            size = pruned.get_parameter(layer).numel()
            prune(pruned, MagnitudePruning(level=count / size, layers=layer))
    with torch.no_grad():
        p, q = (model(inputs).log_softmax(dim=1) for model in (network, pruned))
    return (p.exp() * (p - q)).sum(dim=1)


@pytest.mark.parametrize("memory", [1 << 30, 60_000, 0])
def test_distances_are_those_of_the_pruned_network(network, memory):
    damage = JointDamage(network, LAYERS, INPUTS.split(5), Reading(), memory)
    assert damage.reason is None
    for number, counts in enumerate(dict(zip(LAYERS, counts, strict=True)) for counts in COUNTS):
        # The same operations in batches of other sizes: rounding of float64.
        expected = slowly(network, counts)
        assert torch.allclose(damage.distances(counts, rebase=number % 2 == 0).kl, expected, rtol=1e-9, atol=1e-12)
        assert torch.allclose(damage.distances(counts, first=1).kl, expected[:5], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("counts", COUNTS)
def test_statistics_that_will_be_reestimated_are_those_of_each_batch(network, counts):
    damage = JointDamage(network, LAYERS, INPUTS.split(6), Reading(), reestimated=True)
    named = dict(zip(LAYERS, counts, strict=True))
    found = damage.distances(named, rebase=True).kl
    assert damage.reason is None
    for at, batch in enumerate(INPUTS.split(6)):
        own = copy.deepcopy(network)
        for layer, count in named.items():
            if count:
                prune(own, MagnitudePruning(level=count / own.get_parameter(layer).numel(), layers=layer))
        with torch.no_grad():
            before = own.first(batch)
            own.norm.running_mean.copy_(before.mean(dim=(0, 2, 3)))
            own.norm.running_var.copy_(before.var(dim=(0, 2, 3), correction=0))
            p, q = (model(batch).log_softmax(dim=1) for model in (network, own))
        # The same operations in another order: rounding of float64.
        assert torch.allclose(found[6 * at : 6 * at + 6], (p.exp() * (p - q)).sum(dim=1), rtol=1e-9, atol=1e-12)
    assert torch.allclose(damage.distances(named).kl, found, rtol=0, atol=0)  # nothing was remembered
    damage.slopes(named)
    assert torch.allclose(damage.distances(named).kl, found, rtol=1e-9, atol=1e-12)


def test_a_pass_costs_what_comes_after_the_first_changed_layer(network):
    damage = JointDamage(network, LAYERS, [INPUTS], Reading())
    before = damage.spent
    damage.distances(dict.fromkeys(LAYERS, 0) | {"head.weight": 3})
    late = damage.spent - before
    damage.distances(dict.fromkeys(LAYERS, 0) | {"first.weight": 3})
    assert late < 0.05 * len(INPUTS)  # 20 of the 2,000s of multiply–adds of an input
    assert damage.spent - before - late == pytest.approx(len(INPUTS))


def test_a_network_that_branches_on_values_is_run_whole(network):
    branching = Untraceable().to(torch.float64).eval()
    branching.load_state_dict(network.state_dict())
    damage = JointDamage(branching, LAYERS, INPUTS.split(5), Reading())
    assert damage.reason is not None
    counts = dict(zip(LAYERS, COUNTS[2], strict=True))
    assert torch.allclose(damage.distances(counts).kl, slowly(network, counts), rtol=1e-9, atol=1e-12)


def test_the_network_is_left_as_it_is(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    JointDamage(network, LAYERS, [INPUTS], Reading()).slopes(dict.fromkeys(LAYERS, 3))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("bounded", [False, True])
def test_slopes_are_the_derivative_in_each_weight(network, bounded):
    damage = JointDamage(network, LAYERS, INPUTS.split(5), Reading())
    counts = dict(zip(LAYERS, COUNTS[1], strict=True))
    slopes = damage.slopes(counts, bounded=bounded)["third.weight"]
    weight = network.third.weight.detach()
    order = weight.flatten().abs().argsort(stable=True)
    pruned = copy.deepcopy(network)
    for layer, count in counts.items():
        if count:
            prune(pruned, MagnitudePruning(level=count / pruned.get_parameter(layer).numel(), layers=layer))
    measure = total_variation_to if bounded else divergence_to
    for rank in (0, 7, 100):
        with torch.no_grad():
            flat, index, step = pruned.third.weight.view(-1), order[rank], 1e-5
            found = []
            for sign in (1, -1):
                flat[index] += sign * step
                found.append(float(measure(network(INPUTS), pruned(INPUTS), Reading())))
                flat[index] -= sign * step
            derivative = (found[0] - found[1]) / (2 * step)
        expected = -derivative * float(weight.view(-1)[index])
        # Central differences: their error is of the order of step² and of rounding over the step, both below 1e-9.
        assert float(slopes[rank + 1] - slopes[rank]) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_distances_of_a_regression_are_those_of_gaussians():
    dense, other = INPUTS.flatten(1), INPUTS.flatten(1) + 0.1
    kl, variation = gaussian_distances(dense, other, 0.7)
    reading = Reading(kind="regression", scale=0.7)
    assert float(divergence_to(dense, other, reading)) == pytest.approx(float(kl.mean()), rel=1e-12)
    assert float(total_variation_to(dense, other, reading)) == pytest.approx(float(variation.mean()), rel=1e-12)
