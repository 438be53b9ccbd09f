"""Every path of the kernel against arithmetic without rounding: ordinary, adversarial and broken data."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.pair_sums import COUNTS, SUMS, correctly_rounded_sums, counts, rational_sums
from shrinkscope.kernel import available, pair_sums, why_not
from shrinkscope.kernel.library import PATHS

TYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
BUILT = available()
HERE = [path for path, number in PATHS.items() if BUILT is not None and number <= PATHS[BUILT]]
ALL = [*HERE, "torch"]
LONG = (1 << 20) + 4099
"""Elements from which 16-bit types are summed in float32 (SHORT in kernel.c), and a tail that fills no block."""

FAST, EXACT = 1e-7, 1e-12
"""What docs/diff.md promises."""


def close(sums, truth, tolerance):
    """Whether the sums are as promised, Σωω̃ relative to ‖ω‖‖ω̃‖ as it may cancel."""
    size = math.sqrt(float(truth["square_dense"])) * math.sqrt(float(truth["square_compressed"]))
    for name in SUMS:
        scale = size if name == "product" else float(truth[name])
        assert abs(getattr(sums, name) - float(truth[name])) <= tolerance * scale, name


def two(values, dtype, generator=0):
    x = values.to(dtype)
    noise = torch.rand(len(values), generator=torch.Generator().manual_seed(generator), dtype=torch.float64)
    return x, torch.where(noise < 0.5, values * (1 + 0.1 * noise), 0.0).to(dtype)


def test_this_machine_has_a_kernel_or_says_why_not():
    assert (BUILT is None) == bool(why_not())


any_bits = st.integers(0, 2**16 - 1)


@settings(max_examples=60)
@given(st.lists(st.tuples(any_bits, any_bits), max_size=70), st.sampled_from(TYPES[:2]), st.sampled_from(ALL))
def test_any_bits_of_16_bits_agree_with_rational_arithmetic(bits, dtype, path):
    raw = torch.tensor(bits, dtype=torch.int32).reshape(-1, 2).to(torch.int16)
    x, y = raw[:, 0].contiguous().view(dtype), raw[:, 1].contiguous().view(dtype)
    sums, xs, ys = pair_sums(x, y, path=path), x.tolist(), y.tolist()
    assert {name: getattr(sums, name) for name in COUNTS} == counts(xs, ys)
    assert sums.bits_differ == sum(a != b for a, b in bits)
    # Short tensors are summed in float64: 70 terms, each wrong by a few 2^-53. A float64 sum of bfloat16 squares
    # cannot underflow by more than the smallest subnormal number a term.
    truth = rational_sums(xs, ys)
    size = math.sqrt(float(truth["square_dense"])) * math.sqrt(float(truth["square_compressed"]))
    for name in SUMS:
        scale = size if name == "product" else float(truth[name])
        assert abs(getattr(sums, name) - float(truth[name])) <= 1e-13 * scale + 1e-320
    both = [abs(a - b) for a, b in zip(xs, ys, strict=True) if math.isfinite(a) and math.isfinite(b)]
    assert sums.largest_delta == max(both, default=0.0)


wide = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-45, -1e-40, 3e38, math.inf, math.nan])


@settings(max_examples=60)
@given(st.lists(st.tuples(wide, wide), max_size=70), st.sampled_from(TYPES[2:]), st.sampled_from(ALL))
def test_wide_types_agree_with_rational_arithmetic(pairs, dtype, path):
    x, y = (torch.tensor([p[side] for p in pairs], dtype=dtype) for side in (0, 1))
    sums, xs, ys = pair_sums(x, y, path=path), x.tolist(), y.tolist()
    assert {name: getattr(sums, name) for name in COUNTS} == counts(xs, ys)
    truth = rational_sums(xs, ys)
    size = math.sqrt(float(truth["square_dense"])) * math.sqrt(float(truth["square_compressed"]))
    for name in SUMS:
        scale = size if name == "product" else float(truth[name])
        # The difference of two float32 numbers is rounded once in float64, by 2^-53.
        assert abs(getattr(sums, name) - float(truth[name])) <= 1e-13 * scale + 1e-320


@pytest.mark.parametrize("dtype", TYPES[:2])
def test_long_tensors_keep_the_promise(dtype):
    x, y = two(torch.randn(LONG, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dtype)
    xs, ys = x.tolist(), y.tolist()
    truth, tally = correctly_rounded_sums(xs, ys), counts(xs, ys)
    farthest = max(abs(a - b) for a, b in zip(xs, ys, strict=True))
    for path, exact in itertools.product(ALL, (False, True)):
        sums = pair_sums(x, y, path=path, exact=exact)
        close(sums, truth, EXACT if exact else FAST)
        assert {name: getattr(sums, name) for name in COUNTS} == tally
        assert sums.bits_differ == tally["changed"]  # there is no −0 in the data
        assert sums.largest_delta == pytest.approx(farthest, rel=FAST)


def adversaries():
    """Data that break sums in float32, each by its own mechanism."""
    generator = torch.Generator().manual_seed(2)
    normal = torch.randn(LONG, generator=generator, dtype=torch.float64)
    for lanes in (8, 16, 32):
        # In each sum of eight the first square is 1 and the seven others half its last bit: all are lost.
        lost = torch.full((LONG,), 2.0**-12, dtype=torch.float64)
        lost.view(-1)[: LONG // (8 * lanes) * 8 * lanes].view(-1, 8, lanes)[:, 0] = 1.0
        yield f"lost behind ones in {lanes} lanes", lost
    yield "squares overflow float32", normal * 1e19
    yield "squares lie below the normal numbers", normal * 1e-22
    yield "subnormal", normal * 1e-39
    yield "one huge weight", torch.cat([normal[:-1], torch.tensor([4096.0])])
    yield "a huge weight in every block", torch.where(torch.arange(LONG) % 4096 == 77, 4096.0, normal)
    yield "forty binary orders of magnitude", normal * torch.exp2(torch.rand(LONG, generator=generator) * 40 - 20)
    yield "constant", torch.full((LONG,), 0.1, dtype=torch.float64)
    yield "zero", torch.zeros(LONG, dtype=torch.float64)
    yield "alternating signs", normal.abs() * (1 - 2 * (torch.arange(LONG) % 2))


@pytest.mark.parametrize("path", HERE)
@pytest.mark.parametrize(("name", "values"), list(adversaries()), ids=[name for name, _ in adversaries()])
def test_adversarial_data_keep_the_promise_or_are_summed_in_float64(name, values, path):
    for y in (two(values, torch.bfloat16)[1], torch.flip(values, [0]).to(torch.bfloat16)):
        x = values.to(torch.bfloat16)
        truth = pair_sums(x, y, path="torch")  # float64, itself held against rational arithmetic above
        close(pair_sums(x, y, path=path), {name: getattr(truth, name) for name in SUMS}, FAST)
        close(pair_sums(x, y, path=path, exact=True), {name: getattr(truth, name) for name in SUMS}, EXACT)


@pytest.mark.parametrize("path", ALL)
def test_broken_values_in_a_long_tensor_are_counted_and_left_out_of_the_sums(path):
    x, y = two(torch.randn(LONG, generator=torch.Generator().manual_seed(3), dtype=torch.float64), torch.bfloat16)
    clean = pair_sums(x, y, exact=True)
    x, y = x.clone(), y.clone()
    x[[5, 70_000]], y[[5, LONG - 1]] = 0.0, 0.0
    without = pair_sums(x, y, exact=True)
    x[[5, 70_000]], y[[5, LONG - 1]] = math.inf, math.nan
    sums = pair_sums(x, y, path=path)
    assert (sums.nonfinite_dense, sums.nonfinite_compressed) == (2, 2)
    # Of the left-out pairs the finite partner is left out too.
    expected = without.square_compressed - float(y[70_000].to(torch.float64)) ** 2
    assert sums.square_compressed == pytest.approx(expected, rel=2 * FAST)
    assert clean.nonfinite_dense == 0


@pytest.mark.parametrize("path", ALL)
def test_negative_zero_differs_in_bits_only(path):
    sums = pair_sums(torch.tensor([0.0, -0.0, 1.0]), torch.tensor([-0.0, -0.0, 1.0]), path=path)
    assert (sums.changed, sums.bits_differ, sums.zeros_dense, sums.zeros_gained) == (0, 1, 2, 0)


@pytest.mark.parametrize("path", ALL)
def test_types_that_differ_are_compared_as_numbers(path):
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16)
    sums = pair_sums(x, torch.tensor([1.0, 2.0, 3.5], dtype=torch.float64), path=path)
    assert (sums.changed, sums.bits_differ, sums.square_delta) == (1, None, 0.25)


def test_float8_is_read_and_compared_bit_by_bit():
    x = torch.tensor([1.0, 2.0, 0.0, math.nan]).to(torch.float8_e4m3fn)
    y = torch.tensor([1.0, 1.5, -0.0, math.nan]).to(torch.float8_e4m3fn)
    sums = pair_sums(x, y)
    assert (sums.changed, sums.bits_differ, sums.nonfinite_dense, sums.square_delta) == (2, 2, 1, 0.25)


@pytest.mark.parametrize("path", HERE)
def test_a_thread_that_flushes_subnormal_numbers_changes_nothing(path):
    x = torch.tensor([1e-40, 0.0, 1.0])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        sums = pair_sums(x, torch.zeros(3), path=path)
    finally:
        torch.set_flush_denormal(False)
    assert (sums.zeros_dense, sums.changed, sums.zeros_gained) == (1, 2, 2)


def test_another_length_and_a_path_that_is_not_there_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="expected the same"):
        pair_sums(torch.zeros(2), torch.zeros(3))
    monkeypatch.setattr("shrinkscope.kernel.sums.loaded", lambda: "no compiler")
    with pytest.raises(ValueError, match="no path 'generic' here"):
        pair_sums(torch.zeros(2), torch.zeros(2), path="generic")
    assert pair_sums(torch.ones(2), torch.zeros(2)).square_delta == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", TYPES)
def test_a_gpu_agrees(dtype):
    x, y = two(torch.randn(LONG, generator=torch.Generator().manual_seed(4), dtype=torch.float64), dtype)
    sums, truth = pair_sums(x.to("cuda"), y.to("cuda")), pair_sums(x, y, exact=True)
    close(sums, {name: getattr(truth, name) for name in SUMS}, EXACT)
    assert all(getattr(sums, name) == getattr(truth, name) for name in (*COUNTS, "bits_differ", "largest_delta"))
