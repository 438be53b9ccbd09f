"""Moments of one block's inputs against those of the whole network's own statistic."""

import pytest
import torch
from torch import nn

from shrinkscope.analysis.blocks.moments import BlockMoments
from shrinkscope.curvature import input_moments
from shrinkscope.errors import CurvatureError


class Parallel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.after = nn.Linear(5, 4), nn.Linear(5, 3), nn.Linear(4, 2)
        self.unused = nn.Linear(5, 2)

    def forward(self, hidden):
        return self.after(self.left(hidden).tanh() * self.right(hidden).sum(-1, keepdim=True))


@pytest.mark.parametrize("diagonal", [False, True])
def test_equals_the_moments_of_each_layer_alone(diagonal):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block, inputs = Parallel().double(), torch.randn(7, 3, 5, dtype=torch.float64)
    layers = {f"{name}.weight": getattr(block, name) for name in ("left", "right", "after")}
    moments = BlockMoments(layers, diagonal=diagonal)
    moments.gather(block, inputs.split(3))
    expected = input_moments(block, inputs, layers=list(layers))
    for name in layers:
        matrix = expected.value(name)[0, 0]
        torch.testing.assert_close(moments.matrix(name), matrix.diagonal() if diagonal else matrix, rtol=1e-12, atol=0)
    assert moments.sequences == 7
    assert len(moments._sums) == 2  # left and right share one


def test_a_layer_that_is_not_called_and_inputs_that_are_not_finite_are_errors():
    block = Parallel().double()
    moments = BlockMoments({"unused.weight": block.unused}, diagonal=False)
    moments.gather(block, [torch.zeros(1, 2, 5, dtype=torch.float64)])
    with pytest.raises(CurvatureError, match=r"unused.weight was not used on these inputs"):
        moments.matrix("unused.weight")
    with pytest.raises(CurvatureError, match=r"the input of left.weight has NaN"):
        BlockMoments({"left.weight": block.left}, diagonal=True).gather(
            block, [torch.full((1, 2, 5), torch.nan, dtype=torch.float64)]
        )


class Alternating(Parallel):
    def forward(self, hidden):
        return self.left(hidden), self.right(hidden if len(hidden) > 1 else hidden + 0)


def test_layers_that_share_their_input_only_at_times_are_an_error():
    block = Alternating().double()
    moments = BlockMoments({"left.weight": block.left, "right.weight": block.right}, diagonal=True)
    with pytest.raises(CurvatureError, match=r"right.weight shares its input with other layers on some inputs only"):
        moments.gather(block, [torch.ones(n, 2, 5, dtype=torch.float64) for n in (2, 1)])
