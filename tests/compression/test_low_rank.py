"""Low rank against NumPy's singular value decomposition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shrinkscope.compression import LowRank
from shrinkscope.errors import CompressionError

SHAPES = [(6, 4), (4, 9), (5, 5), (3, 2, 3, 3), (4, 3, 5), (7,), (1, 6)]


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_array(weight: Tensor) -> np.ndarray:
    return weight.reshape(weight.shape[0], -1).numpy()


@given(shape=st.sampled_from(SHAPES), rank=st.integers(1, 8), seed=st.integers(0, 1000))
def test_the_error_is_the_smallest_possible(shape: tuple[int, ...], rank: int, seed: int) -> None:
    weight = drawn(shape, seed)
    new = LowRank(rank=rank).compress({"w": weight})["w"]
    assert new.shape == shape
    singular = np.linalg.svd(as_array(weight), compute_uv=False)
    error = np.linalg.norm(as_array(new) - as_array(weight))
    # Eckart & Young: the best possible error is the root of the sum of the squared singular values left out. Both
    # sides carry rounding of some units in the last place of the largest singular value.
    assert error == pytest.approx(np.sqrt(np.square(singular[rank:]).sum()), rel=1e-12, abs=1e-13 * singular[0])
    assert np.linalg.matrix_rank(as_array(new)) == min(rank, len(singular))


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), rank=st.integers(1, 4))
def test_no_other_factors_are_nearer(seed: int, rank: int) -> None:
    weight = drawn((6, 8), seed)
    best = (LowRank(rank=rank).compress({"w": weight})["w"] - weight).norm()
    factors = LowRank(rank=rank).factors("w", weight)
    assert factors is not None
    nudge = 1e-3 * drawn((6, rank), seed + 1)
    assert ((factors.left + nudge) @ factors.right - weight).norm() > best
    assert (drawn((6, rank), seed + 2) @ drawn((rank, 8), seed + 3) - weight).norm() > best


@pytest.mark.parametrize("shape", SHAPES)
def test_factors_multiply_to_the_weight_and_are_what_is_stored(shape: tuple[int, ...]) -> None:
    weight, method = drawn(shape), LowRank(rank=2)
    factors = method.factors("w", weight)
    stored = method.stored_parameters({"w": weight})["w"]
    if factors is None:
        assert stored == weight.numel()
        return
    assert factors.rank == 2
    assert torch.equal((factors.left @ factors.right).reshape(shape), method.compress({"w": weight})["w"])
    assert stored == factors.left.numel() + factors.right.numel()


@pytest.mark.parametrize(
    ("method", "rank"),
    [
        (LowRank(ratio=0.5), 4),
        (LowRank(ratio=0.3), 2),  # 2.4
        (LowRank(ratio=0.3125), 3),  # 2.5: halves up
        (LowRank(ratio=0.001), 1),
        (LowRank(rank=7), 7),
    ],
    ids=str,
)
def test_ranks(method: LowRank, rank: int) -> None:
    weight = drawn((8, 20))
    assert np.linalg.matrix_rank(method.compress({"w": weight})["w"].numpy()) == rank
    assert method.stored_parameters({"w": weight}) == {"w": rank * 28}


def test_factors_may_need_more_than_the_weight_and_say_so() -> None:
    assert LowRank(rank=7).stored_parameters({"w": drawn((8, 20))})["w"] == 196
    assert drawn((8, 20)).numel() == 160


@pytest.mark.parametrize("energy", [0.3, 0.9, 0.999])
def test_energy_keeps_the_smallest_rank_that_suffices(energy: float) -> None:
    weight = drawn((10, 12))
    new = LowRank(energy=energy).compress({"w": weight})["w"]
    squares = np.square(np.linalg.svd(weight.numpy(), compute_uv=False))
    kept = np.cumsum(squares) / squares.sum()
    rank = int(np.argmax(kept >= energy)) + 1
    assert np.linalg.matrix_rank(new.numpy()) == rank
    # Relative rounding of the two decompositions.
    assert new.square().sum().item() / squares.sum() == pytest.approx(kept[rank - 1], rel=1e-12)
    assert LowRank(energy=energy).stored_parameters({"w": weight}) == {"w": rank * 22 if rank < 10 else 120}


def test_full_energy_and_full_rank_change_nothing() -> None:
    weight = drawn((5, 8)).to(torch.float32)
    for method in (LowRank(energy=1.0), LowRank(ratio=1.0), LowRank(rank=5), LowRank(rank=99)):
        new = method.compress({"w": weight})["w"]
        assert torch.equal(new, weight)
        assert new is not weight
        assert method.factors("w", weight) is None
        assert method.stored_parameters({"w": weight}) == {"w": 40}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_types_are_rounded_once(dtype: torch.dtype) -> None:
    weight = drawn((6, 9)).to(dtype)
    new = LowRank(rank=2).compress({"w": weight})["w"]
    assert torch.equal(new, LowRank(rank=2).compress({"w": weight.to(torch.float64)})["w"].to(dtype))


@pytest.mark.parametrize("method", [LowRank(rank=1), LowRank(ratio=0.5), LowRank(energy=0.5)], ids=str)
def test_zero_weights_and_empty_weights(method: LowRank) -> None:
    weights = {"zero": torch.zeros(3, 4), "no inputs": torch.ones(3, 0), "no outputs": torch.ones(0, 3)}
    new = method.compress(weights)
    assert all(torch.equal(new[name], weights[name]) for name in weights)
    assert method.stored_parameters(weights)["no inputs"] == 0


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "none"),
        ({"rank": 2, "ratio": 0.5}, r"rank=2 and ratio=0\.5"),
        ({"rank": 1, "energy": 1}, "rank=1 and ener"),
    ],
)
def test_exactly_one_size_is_given(options, found: str) -> None:
    with pytest.raises(CompressionError, match=f"LowRank got {found}.*exactly one of rank, ratio and energy"):
        LowRank(**options)


@pytest.mark.parametrize("what", ["ratio", "energy"])
def test_fractions_are_above_zero(what: str) -> None:
    with pytest.raises(CompressionError, match=f"{what} is 0; expected a fraction above 0 and at most 1"):
        LowRank(**{what: 0})  # type: ignore[arg-type]
    with pytest.raises(CompressionError, match=rf"{what} is 1\.5; expected a fraction between 0 and 1"):
        LowRank(**{what: 1.5})  # type: ignore[arg-type]


def test_names() -> None:
    assert str(LowRank(rank=8, layers="fc*")) == "low rank 8, fc*"
    assert str(LowRank(ratio=0.25)) == "low rank 25 % of full"
    assert str(LowRank(energy=0.9)) == "low rank 90 % energy"
