"""Paths from a dense layer to an empty one: what is kept, the weights on the way, and their first-order effect."""

import pytest
import torch
from torch import nn

from shrinkscope.compression import MagnitudePruning, compensate, compensated_path, compensated_to_counts
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.removal_path import RemovalPath, magnitude_path
from shrinkscope.curvature import input_moments
from shrinkscope.errors import CompressionError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


WEIGHT = torch.tensor([[3.0, -1.0, 2.0], [0.5, -2.0, 4.0]], dtype=torch.float64)


def test_the_path_of_magnitudes_is_magnitude_pruning():
    path = magnitude_path(WEIGHT)
    assert path.rungs == (0,)
    for removed in range(7):
        expected = MagnitudePruning(level=removed / 6).compress({"w": WEIGHT})["w"]
        assert torch.equal(path.weight(removed), expected)
        assert int(path.kept(removed).sum()) == 6 - removed


def stepped():
    """Two rungs between dense and empty; the order is that of magnitudes."""
    order = WEIGHT.flatten().abs().argsort(stable=True)
    flat = WEIGHT.flatten()
    rungs = {2: flat * 1.5, 4: flat * 2.0}
    for rung in rungs:
        rungs[rung][order[:rung]] = 0.0
    return RemovalPath(WEIGHT, order, rungs, lambda kept: torch.where(kept, flat * 9.0, 0.0)), order


def test_between_rungs_weights_are_those_of_both():
    path, order = stepped()
    assert path.rungs == (0, 2, 4)
    expected = {0: 1.0, 1: 1.25, 2: 1.5, 3: 1.75, 4: 2.0, 5: 2.0, 6: 2.0}
    for removed, factor in expected.items():
        weights = WEIGHT.flatten() * factor
        if removed in (1, 3):
            # What goes at the next rung is zero there already, and counts for half.
            leaving = order[removed]
            weights[leaving] = WEIGHT.flatten()[leaving] * {1: 1.0, 3: 1.5}[removed] / 2
        weights[order[:removed]] = 0.0
        assert torch.allclose(path.weight(removed).flatten(), weights), removed


def test_the_change_is_to_first_order_that_of_every_number_removed():
    gradient = torch.randn(WEIGHT.shape, generator=seeded(), dtype=torch.float64)
    for path in (stepped()[0], magnitude_path(WEIGHT)):
        expected = [float((gradient * (path.weight(n) - WEIGHT)).sum()) for n in range(7)]
        torch.testing.assert_close(path.change(gradient), torch.tensor(expected, dtype=torch.float64))


def test_settling_solves_for_one_number():
    path, order = stepped()
    path.settle(3)
    assert path.rungs == (0, 2, 3, 4)
    expected = WEIGHT.flatten() * 9.0
    expected[order[:3]] = 0.0
    assert torch.equal(path.weight(3).flatten(), expected)
    path.settle(2)
    assert path.rungs == (0, 2, 3, 4)
    still = magnitude_path(WEIGHT)
    still.settle(3)
    assert still.rungs == (0,)


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    linear = nn.Linear(12, 8).double()
    base = torch.randn(100, 4, generator=seeded(1), dtype=torch.float64)
    mixing = torch.randn(4, 12, generator=seeded(2), dtype=torch.float64)
    inputs = base @ mixing + 0.3 * torch.randn(100, 12, generator=seeded(3), dtype=torch.float64)
    network = nn.Sequential(linear)
    return linear.weight.detach(), input_moments(network, inputs).precisions()


def test_a_settled_path_is_compensated_pruning_to_that_count(layer):
    weight, precisions = layer
    for count in (1, 16, 37, 70, 95, 96):
        path = compensated_path("0.weight", weight, precisions)
        path.settle(count)
        mask, moved = compensated_to_counts({"0.weight": weight}, {"0.weight": count}, precisions)
        assert torch.equal(path.kept(count), mask["0.weight"]), count
        torch.testing.assert_close(path.weight(count), moved["0.weight"], rtol=1e-12, atol=1e-14)
        best = compensate({"0.weight": weight}, mask, precisions)["0.weight"]
        torch.testing.assert_close(moved["0.weight"], best, rtol=1e-12, atol=1e-14)


def test_on_the_way_the_path_is_nearly_the_best(layer):
    weight, precisions = layer
    path, precision = compensated_path("0.weight", weight, precisions), precisions["0.weight"]
    assert list(path.rungs) == sorted(path.rungs)
    assert path.rungs[0] == 0
    for count in range(4, 92):
        kept = Mask({"0.weight": path.kept(count)})
        best = compensate({"0.weight": weight}, kept, precisions)["0.weight"]
        plain = torch.where(path.kept(count), weight, 0.0)
        lost = [precision.quadratic((weight - w).flatten()) for w in (best, path.weight(count), plain)]
        assert lost[0] <= lost[1] * (1 + 1e-2)  # "best" is so under a damped Σ
        assert lost[1] < lost[2], count


def test_nothing_and_everything(layer):
    weight, precisions = layer
    mask, moved = compensated_to_counts({"0.weight": weight}, {"0.weight": 0}, precisions)
    assert mask.removed() == 0
    assert moved["0.weight"] is weight
    _, empty = compensated_to_counts({"0.weight": weight}, {"0.weight": weight.numel()}, precisions)
    assert not empty["0.weight"].any()
    with pytest.raises(CompressionError, match="damping is -1; expected a finite number"):
        compensated_path("0.weight", weight, precisions, damping=-1)
