"""Networks whose batch norms moved, as parameters at one set of statistics: the outputs say whether it is the same."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from shrinkscope.errors import CurvatureError
from shrinkscope.experiments.fixed_statistics import FixedStatistics, tensors_of_function


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 3)
    ).double()


def moved(model: nn.Module, seed: int) -> nn.Module:
    """A copy with other parameters and other statistics."""
    other = copy.deepcopy(model)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=rng, dtype=torch.float64))
    return other.eval()


def test_the_outputs_stay_the_same_while_the_statistics_stay_those_of_the_dense_network():
    dense = moved(network(), 0)
    others = [moved(dense, seed) for seed in (1, 2, 3)]
    path = FixedStatistics(dense, [dict(other.state_dict()) for other in others])
    inputs = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert len(path) == 3
    for state, other in zip(path, others, strict=True):
        assert list(state) == [name for name, _ in dense.named_parameters()]
        with torch.no_grad():
            # Sums of 144 products of numbers near 1, in another order of operations.
            torch.testing.assert_close(functional_call(dense, state, (inputs,)), other(inputs), rtol=1e-10, atol=1e-10)
    assert torch.equal(path[-1]["1.weight"], list(path)[2]["1.weight"])
    assert not torch.equal(path[0]["1.weight"], others[0].state_dict()["1.weight"])


def test_statistics_that_nothing_makes_up_for_are_refused():
    dense = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False)).double()
    with pytest.raises(CurvatureError, match=r"1\.running_(mean|var) moved in training and is no parameter"):
        FixedStatistics(dense, [dict(moved(dense, 1).state_dict())])
    FixedStatistics(dense, [dict(dense.state_dict())])  # they did not move


def test_counts_of_batches_are_not_followed():
    assert "1.running_var" in tensors_of_function(network())
    assert "1.num_batches_tracked" not in tensors_of_function(network())
