"""What a group says of values and ranks: the bits of its tensors' codes, the rank of a block-diagonal Δ."""

import math

import pytest
import torch

from shrinkscope.analysis import compare
from shrinkscope.analysis.group import merged

SHAPES = {"b.0.w.weight": (12, 7), "b.0.v.weight": (5, 9), "b.0.v.bias": (6,), "b.1.w.weight": (4, 4)}


@pytest.fixture(scope="module")
def states():
    generator = torch.Generator().manual_seed(4)
    dense = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}
    return dense, {name: (2 * tensor).round() / 2 for name, tensor in dense.items()}


def test_the_rank_is_that_of_the_block_diagonal_change(states):
    dense, compressed = states
    group = compare(*states, rank=True).grouped_by("block").rows[0]
    deltas = [dense[name] - compressed[name] for name in group.layers]
    whole = torch.block_diag(*(delta.reshape(1, -1) if delta.ndim == 1 else delta for delta in deltas))
    energies = torch.linalg.svdvals(whole).square()
    shares = energies / energies.sum()
    # The ranks of the blocks are from Gram matrices, which are wrong by 1e-16 of their largest value.
    assert group.effective_rank == pytest.approx(math.exp(-float(torch.special.xlogy(shares, shares).sum())), rel=1e-9)
    assert compare(*states).grouped_by("block").rows[0].effective_rank is None


def test_the_rank_of_an_unchanged_matrix_or_of_vectors_alone_is_not_made_up(states):
    dense, compressed = states
    changed = dense | {"b.0.v.bias": compressed["b.0.v.bias"]}
    rows = compare(dense, changed, rank=True).rows
    assert merged("all", rows).effective_rank is None
    assert merged("all", compare(dense, dense, rank=True).rows).effective_rank is None


def test_bits_are_the_mean_over_weights_and_distinct_values_the_most(states):
    _, compressed = states
    group = compare(*states).grouped_by("block").rows[0]
    counts = {name: len(compressed[name].unique()) for name in group.layers}
    bits = sum(math.log2(counts[name]) * compressed[name].numel() for name in group.layers)
    assert group.distinct == max(counts.values())
    # Four float64 logarithms and products.
    assert group.effective_bits == pytest.approx(bits / sum(compressed[n].numel() for n in group.layers), rel=1e-14)


def test_one_tensor_of_too_many_values_leaves_the_group_without_a_number():
    generator = torch.Generator().manual_seed(1)
    dense = {"b.0.w": torch.randn(50, 50, generator=generator), "b.0.v": torch.ones(3, 3)}
    (group,) = compare(dense, {name: tensor / 2 for name, tensor in dense.items()}).grouped_by("block").rows
    assert (group.distinct_dense, group.distinct, group.effective_bits) == (None, None, None)


def test_the_total_has_what_a_group_has(states):
    comparison = compare(*states, rank=True)
    everything, total = merged("all", comparison.rows), comparison.total
    for field in ("changed", "zeros_dense", "zeros", "zeros_gained", "zeros_lost", "cosine", "max_abs_delta", "snr_db"):
        assert getattr(total, field) == getattr(everything, field) is not None
    for field in ("distinct", "effective_bits", "effective_rank"):
        assert getattr(total, field) == getattr(everything, field) is not None
