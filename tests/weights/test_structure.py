"""Distinct values and N:M patterns of whole tensors, over chunks and threads."""

import math

import pytest
import torch

from shrinkscope.kernel.values import LIMIT
from shrinkscope.weights import LayerSelection, open_weights, pair, summarise
from shrinkscope.weights.structure import Structure


def structure_of(tensor: torch.Tensor) -> Structure:
    return Structure.nothing(tuple(tensor.shape)).of(tensor.reshape(-1))


def pruned(shape: tuple[int, ...], kept: int, length: int) -> torch.Tensor:
    """Each group of ``length`` keeps its ``kept`` largest entries."""
    groups = torch.randn(math.prod(shape) // length, length, generator=torch.Generator().manual_seed(3))
    weakest = groups.abs().argsort(dim=1)[:, : length - kept]
    return groups.scatter(1, weakest, 0.0).reshape(shape)


@pytest.mark.parametrize(
    ("kept", "length", "pattern"),
    [(2, 4, "2:4"), (4, 8, "4:8"), (1, 4, "1:4"), (1, 2, "1:2"), (8, 16, "8:16"), (3, 4, None), (3, 8, "4:8")],
)
def test_the_pattern_is_the_one_that_was_pruned_to(kept, length, pattern):
    # 4096 groups: that random ones happen to fit a sparser pattern has a probability below 1e-100.
    assert structure_of(pruned((256, 16 * length), kept, length)).pattern == pattern


def test_one_group_that_does_not_fit_is_enough():
    weights = pruned((64, 64), 2, 4)
    weights[40, 12:16] = 1.0
    # The same group spoils 4:8 only when it is more than half full with its neighbour.
    weights[40, 8:12] = 1.0
    assert structure_of(weights).pattern in (None, "8:16")
    weights[40] = 1.0
    assert structure_of(weights).pattern is None


@pytest.mark.parametrize(
    "weights",
    [torch.zeros(4, 8), torch.tensor([1.0, 0, 0, 0] * 4), pruned((60, 4), 2, 4).reshape(-1, 3), torch.ones(2, 0)],
)
def test_no_pattern_without_weights_or_rows_of_whole_groups(weights):
    assert structure_of(weights).pattern is None


def test_effective_bits_of_a_quantised_tensor():
    levels = torch.linspace(-1, 1, 16)[torch.randint(16, (64, 64), generator=torch.Generator().manual_seed(1))]
    assert (structure_of(levels).distinct, structure_of(levels).effective_bits) == (16, 4.0)
    full = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    assert (structure_of(full).distinct, structure_of(full).effective_bits) == (None, None)
    assert structure_of(torch.zeros(0)).effective_bits is None


@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_and_threads_change_nothing(monkeypatch, threads):
    dense = torch.randn(64, 320, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    compressed = (pruned((64, 320), 2, 4) * 4).round().div(4).to(torch.bfloat16)
    tensors = pair(open_weights({"w": dense}), open_weights({"w": compressed}), LayerSelection()).pairs[0]
    whole = summarise(tensors, groups=[7], values=True)
    monkeypatch.setattr("shrinkscope.weights.summary.CHUNK", 256)
    told: list[int] = []
    parts = summarise(tensors, groups=[7], values=True, threads=threads, progress=told.append)
    assert (parts.compressed_values.pattern, parts.compressed_values.distinct) == (
        "2:4",
        whole.compressed_values.distinct,
    )
    # No chunk of 256 has too many, the whole has: known only when they are merged.
    assert len(dense.unique()) > LIMIT
    assert parts.dense_values.distinct is None is whole.dense_values.distinct
    assert parts.compressed_values.distinct == len(compressed.unique())
    assert parts.moments.bits_differ == whole.moments.bits_differ
    # Sums of 80 chunks in another order.
    assert parts.moments.square_delta == pytest.approx(whole.moments.square_delta, rel=1e-13)
    torch.testing.assert_close(parts.groups[7].mean_delta, whole.groups[7].mean_delta, rtol=1e-12, atol=1e-14)
    assert sum(told) == dense.numel()


def test_a_window_that_fails_ends_the_pass(monkeypatch):
    import msgspec

    monkeypatch.setattr("shrinkscope.weights.summary.CHUNK", 16)
    tensors = pair(open_weights({"w": torch.ones(640)}), open_weights({"w": torch.ones(640)}), LayerSelection()).pairs[
        0
    ]

    def window(start: int, stop: int) -> torch.Tensor:
        if start >= 320:
            raise OSError("the disk is gone")
        return torch.ones(stop - start)

    broken = msgspec.structs.replace(tensors, dense=msgspec.structs.replace(tensors.dense, window=window))
    with pytest.raises(OSError, match="the disk is gone"):
        summarise(broken, threads=3)
