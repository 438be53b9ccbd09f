"""Uniform quantisation: levels, the half-step bound, optimality, zeros."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shrinkscope.compression import UniformQuantisation
from shrinkscope.compression.quantise import Granularity

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
numbers = st.floats(-100, 100, width=16) | st.just(0.0)
matrices = st.integers(1, 5).flatmap(
    lambda columns: st.lists(st.lists(numbers, min_size=columns, max_size=columns), min_size=1, max_size=5)
)
granularities = st.sampled_from(["tensor", "channel"])


def quantised(weight: Tensor, bits: int, granularity: Granularity = "tensor") -> Tensor:
    return UniformQuantisation(bits=bits, granularity=granularity).compress({"w": weight})["w"]


def nearest_level(value: float, largest: float, bits: int) -> float:
    """By definition: try every level."""
    top = 2 ** (bits - 1) - 1
    return min((abs(value - q * largest / top), q * largest / top) for q in range(-top, top + 1))[0]


@given(entries=matrices, bits=st.integers(2, 7))
def test_every_weight_goes_to_a_nearest_level(entries: list[list[float]], bits: int) -> None:
    weight = torch.tensor(entries, dtype=torch.float64)
    error = (quantised(weight, bits) - weight).abs().flatten().tolist()
    largest = float(weight.abs().max())
    for value, distance in zip(weight.flatten().tolist(), error, strict=True):
        # Both sides round at the scale of the largest weight, a few units in the last place of float64.
        assert distance == pytest.approx(nearest_level(value, largest, bits), abs=8 * 2.0**-53 * max(largest, 1e-300))


@given(entries=matrices, bits=st.integers(2, 16), granularity=granularities, dtype=st.sampled_from(DTYPES))
def test_no_weight_moves_by_more_than_half_a_step(
    entries: list[list[float]], bits: int, granularity: Granularity, dtype: torch.dtype
) -> None:
    weight = torch.tensor(entries, dtype=torch.float64).to(dtype)
    method = UniformQuantisation(bits=bits, granularity=granularity)
    new = method.compress({"w": weight})["w"]
    assert new.dtype == dtype
    error = (new.to(torch.float64) - weight.to(torch.float64)).abs()
    # The level is then rounded to the weight's type: half a unit in its last place, or half its smallest number.
    info = torch.finfo(dtype)
    rounding = weight.to(torch.float64).abs().amax() * info.eps / 2 + info.smallest_normal * info.eps / 2
    assert (error <= method.step("w", weight) / 2 + rounding + 2e-15 * error).all()


@given(entries=matrices, bits=st.integers(1, 7), granularity=granularities, dtype=st.sampled_from(DTYPES))
def test_few_symmetric_values_and_zero_stays_zero(
    entries: list[list[float]], bits: int, granularity: Granularity, dtype: torch.dtype
) -> None:
    weight = torch.tensor(entries, dtype=torch.float64).to(dtype)
    new = quantised(weight, bits, granularity)
    assert (new[weight == 0] == 0).all()
    assert not torch.signbit(new[new == 0]).any()
    assert torch.equal(quantised(-weight, bits, granularity), -new)
    for row in new if granularity == "channel" else new.reshape(1, -1):
        assert len(set(row[row != 0].tolist())) <= max(2, 2**bits - 2)


@given(entries=matrices, bits=st.integers(2, 16))
def test_the_extremes_are_levels_and_twice_is_once(entries: list[list[float]], bits: int) -> None:
    weight = torch.tensor(entries, dtype=torch.float64)
    once = quantised(weight, bits)
    assert once.abs().max() == weight.abs().max()
    assert torch.equal(quantised(once, bits), once)


@given(entries=matrices, granularity=granularities, factor=st.floats(0.5, 2))
def test_one_bit_is_the_best_pair_of_levels(
    entries: list[list[float]], granularity: Granularity, factor: float
) -> None:
    weight = torch.tensor(entries, dtype=torch.float64)
    new = quantised(weight, 1, granularity)
    # Any other ±a with the same signs is no nearer in squares; 1e-12 allows for rounding in the sums.
    assert (new - weight).square().sum() <= (factor * new - weight).square().sum() * (1 + 1e-12) + 1e-12
    groups = weight if granularity == "channel" else weight.reshape(1, -1)
    for row, values in zip(groups, new.reshape(groups.shape), strict=True):
        nonzero = [abs(value) for value in row.tolist() if value]
        if nonzero:
            # math.fsum is exact; the mean in float64 loses a unit in the last place for each of at most 25 terms.
            assert values.abs().max().item() == pytest.approx(math.fsum(nonzero) / len(nonzero), rel=25 * 2.0**-53)


def test_channels_have_their_own_step() -> None:
    weight = torch.tensor([[4.0, 1.9, 0.0], [0.04, 0.019, 0.03]], dtype=torch.float64)
    method = UniformQuantisation(bits=2, granularity="channel")
    assert method.step("w", weight).tolist() == [[4.0], [0.04]]
    assert method.compress({"w": weight})["w"].tolist() == [[4.0, 0.0, 0.0], [0.04, 0.0, 0.04]]
    assert UniformQuantisation(bits=2).step("w", weight).tolist() == [[4.0]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_and_all_zero_channels(bits: int, granularity: Granularity, dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, 0.0], [0.3, 0.3], [-0.3, 0.3]], dtype=torch.float64).to(dtype)
    assert torch.equal(quantised(weight, bits, granularity), weight)
    assert torch.equal(quantised(torch.zeros(2, 3, dtype=dtype), bits, granularity), torch.zeros(2, 3, dtype=dtype))


@pytest.mark.parametrize("extreme", [5e-324, 1e-310, 1e308])
def test_the_ends_of_the_number_range(extreme: float) -> None:
    weight = torch.tensor([extreme, -extreme, 0.0], dtype=torch.float64)
    for bits in (2, 8, 16):
        assert torch.equal(quantised(weight, bits), weight)


def test_many_bits_leave_half_precision_nearly_alone() -> None:
    weight = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    # 16 bits over ±4 are steps of 1.2e-4; bfloat16 near 1 has steps of 7.8e-3, so most weights return as they were.
    assert (quantised(weight, 16) == weight).float().mean() > 0.9


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0,)])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_layers_without_elements(shape: tuple[int, ...], granularity: Granularity) -> None:
    weight = torch.ones(shape)
    for bits in (1, 4):
        method = UniformQuantisation(bits=bits, granularity=granularity)
        assert method.compress({"w": weight})["w"].shape == shape
        assert (method.step("w", weight) == 0).all()


def test_names() -> None:
    assert str(UniformQuantisation(bits=1)) == "uniform 1 bit (tensor)"
    assert str(UniformQuantisation(bits=4, granularity="channel", layers="c*")) == "uniform 4 bits (channel, c*)"
