"""The effective rank of Δ against a dense singular value decomposition."""

import math

import pytest
import torch

from shrinkscope.weights import LayerSelection, TensorPair, open_weights, pair
from shrinkscope.weights.rank import EXACT, effective_rank


def pair_of(delta: torch.Tensor) -> TensorPair:
    generator = torch.Generator().manual_seed(5)
    dense = torch.randn(delta.shape, generator=generator, dtype=torch.float64)
    return pair(open_weights({"w": dense}), open_weights({"w": dense - delta}), LayerSelection()).pairs[0]


def dense_rank(delta: torch.Tensor) -> float:
    energies = torch.linalg.svdvals(delta.reshape(len(delta), -1)).square()
    shares = energies / energies.sum()
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (8, 3, 5, 5), (300, 9000), (9000, 300), (2, 1)])
def test_it_is_that_of_the_dense_decomposition(shape):
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    delta *= torch.logspace(0, -3, shape[-1], dtype=torch.float64)
    # Squares of singular values from the Gram matrix are wrong by 1e-16 of the largest one; Δ itself by 1e-16 of ω.
    assert effective_rank(pair_of(delta)) == pytest.approx(dense_rank(delta), rel=1e-9)


def test_a_change_of_rank_one_has_rank_one():
    delta = torch.outer(torch.arange(1.0, 31.0, dtype=torch.float64), torch.ones(20, dtype=torch.float64))
    assert effective_rank(pair_of(delta)) == pytest.approx(1.0, abs=1e-9)


def test_large_matrices_are_sketched_and_never_underestimated():
    side = EXACT + 76
    generator = torch.Generator().manual_seed(2)
    low = torch.randn(side, 20, generator=generator, dtype=torch.float64)
    delta = low @ torch.randn(20, side, generator=generator, dtype=torch.float64)
    # Of rank 20, below the 256 found: nothing is left over. Δ is known to 1e-16 of ω.
    assert effective_rank(pair_of(delta)) == pytest.approx(dense_rank(delta), rel=1e-9)
    delta = delta + torch.randn(side, side, generator=generator, dtype=torch.float64)
    true = dense_rank(delta)
    # The rest shared evenly has the largest entropy; what the sketch misses of the 256 largest moves into the rest.
    assert true <= effective_rank(pair_of(delta)) <= 1.1 * true


def test_vectors_and_no_change_have_none():
    assert effective_rank(pair_of(torch.ones(5, dtype=torch.float64))) is None
    assert effective_rank(pair_of(torch.zeros(5, 4, dtype=torch.float64))) is None
    assert effective_rank(pair_of(torch.full((5, 4), math.inf, dtype=torch.float64))) is None
