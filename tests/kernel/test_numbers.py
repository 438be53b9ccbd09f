import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.kernel import SIZES, Numbers, as_tensor, is_floating, most_in_groups, pair_sums, type_name
from shrinkscope.kernel.values import distinct_values


def numbers_of(tensor: torch.Tensor) -> Numbers:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return Numbers(raw, type_name(tensor.dtype))


@pytest.mark.parametrize("name", SIZES)
def test_names_and_sizes_are_those_of_torch(name: str):
    dtype = getattr(torch, name)
    assert (type_name(dtype), type_name(name), SIZES[name]) == (name, name, dtype.itemsize)
    assert is_floating(name) == dtype.is_floating_point
    empty = Numbers(np.empty(0, dtype=np.uint8), name)
    assert (empty.count, empty.tensor().dtype, empty.tensor().shape) == (0, dtype, (0,))


@pytest.mark.parametrize("name", SIZES)
def test_parts_and_tensors_share_the_memory(name: str):
    raw = np.arange(16 * SIZES[name], dtype=np.uint8) % 2
    part = Numbers(raw, name)[3:7]
    assert (part.count, part.address) == (4, raw.ctypes.data + 3 * SIZES[name])
    assert torch.equal(part.tensor().view(torch.uint8), torch.from_numpy(raw[3 * SIZES[name] : 7 * SIZES[name]]))
    assert as_tensor(part).data_ptr() == part.address
    array = part.array()
    if array is not None:
        assert array.tolist() == part.tensor().tolist()
    else:
        assert name.startswith(("bfloat", "float8"))


@given(
    kind=st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn]),
    other=st.sampled_from([torch.bfloat16, torch.float32]),
    seed=st.integers(0, 99),
    exact=st.booleans(),
)
def test_the_statistics_are_those_of_the_tensors(kind: torch.dtype, other: torch.dtype, seed: int, exact: bool):
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(64, generator=generator).to(kind)
    same, changed = (dense.float().round().to(dtype) for dtype in (kind, other))
    for compressed in (same, changed):
        expected = pair_sums(dense, compressed, exact=exact)
        assert pair_sums(numbers_of(dense), numbers_of(compressed), exact=exact) == expected
        assert pair_sums(numbers_of(dense), compressed, exact=exact) == expected
    assert np.array_equal(distinct_values(numbers_of(same)), distinct_values(same))
    assert most_in_groups(numbers_of(same)) == most_in_groups(same)


def test_another_count_is_refused():
    with pytest.raises(ValueError, match="4 numbers and 3; expected as many"):
        pair_sums(numbers_of(torch.zeros(4)), numbers_of(torch.zeros(3)))


@pytest.mark.parametrize(
    "kinds", [("bfloat16", "float32"), ("float16", "bfloat16"), ("float64", "float16"), ("float32", "float64")]
)
def test_types_that_differ_are_widened_without_loss(kinds: tuple[str, str]):
    generator = torch.Generator().manual_seed(1)
    # Long enough for several blocks; subnormal, infinite and undefined values among them.
    sides = [
        torch.randn(600_001, generator=generator).mul(scale).to(getattr(torch, kind))
        for kind, scale in zip(kinds, (1.0, 1.25), strict=True)
    ]
    for side in sides:
        side[:6] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 3e-8])
    for exact in (False, True):
        got = pair_sums(*map(numbers_of, sides), exact=exact)
        expected = pair_sums(*sides, exact=exact)
        assert got == expected
        assert got.bits_differ is None
    wide = numbers_of(sides[0]).widened("float64").tensor()
    assert torch.equal(wide.nan_to_num(), sides[0].double().nan_to_num())
    empty = [numbers_of(side[:0]) for side in sides]
    assert pair_sums(*empty) == pair_sums(*(side[:0] for side in sides))
