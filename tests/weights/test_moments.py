"""Partial statistics: agreement with exact rational arithmetic, and invariance under chunking and merging."""

import itertools
import math
from fractions import Fraction

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.weights import GroupSums, PairMoments, open_weights, pair, summarise
from shrinkscope.weights.selection import LayerSelection

values = st.floats(-1e3, 1e3, width=32)
pairs_of_values = st.lists(st.tuples(values, values), min_size=1, max_size=60)


def exact(xs: list[float], ys: list[float]) -> dict[str, Fraction]:
    """The sums in rational arithmetic: no rounding at all."""
    x, y = [Fraction(v) for v in xs], [Fraction(v) for v in ys]
    return {
        "square_dense": sum((a * a for a in x), Fraction(0)),
        "square_compressed": sum((b * b for b in y), Fraction(0)),
        "square_delta": sum(((a - b) ** 2 for a, b in zip(x, y, strict=True)), Fraction(0)),
        "product": sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0)),
    }


@given(pairs_of_values)
def test_sums_agree_with_rational_arithmetic(pairs):
    xs, ys = [p[0] for p in pairs], [p[1] for p in pairs]
    moments = PairMoments().update(torch.tensor(xs), torch.tensor(ys))
    truth = exact(xs, ys)
    # A difference of float32 numbers rounds once in float64 (2^-53), its square and the sum of 60 a few times more.
    for name in ("square_dense", "square_compressed", "square_delta"):
        assert getattr(moments, name) == pytest.approx(float(truth[name]), rel=1e-13, abs=1e-300)
    size = math.sqrt(float(truth["square_dense"] * truth["square_compressed"]))
    assert abs(moments.product - float(truth["product"])) <= 1e-13 * size + 1e-300
    assert moments.largest_delta == max(abs(a - b) for a, b in pairs)
    assert moments.changed == sum(a != b for a, b in pairs)


@given(pairs_of_values, st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_any_chunking_and_order_of_merging_gives_the_same_statistics(pairs, cuts, random):
    x, y = torch.tensor([p[0] for p in pairs]), torch.tensor([p[1] for p in pairs])
    whole = PairMoments().update(x, y)
    edges = sorted({0, len(pairs), *(c for c in cuts if c < len(pairs))})
    parts = [PairMoments().update(x[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]
    random.shuffle(parts)
    merged = PairMoments()
    for part in parts:
        merged = merged.merge(part)
    for name, value in msgspec.structs.asdict(whole).items():
        # Only the order of a few dozen float64 additions differs; products of opposite signs may cancel.
        scale = math.sqrt(whole.square_dense * whole.square_compressed) if name == "product" else 0.0
        assert getattr(merged, name) == pytest.approx(value, rel=1e-13, abs=1e-13 * scale)


def test_zeros_gained_lost_and_values_that_are_not_finite():
    dense = torch.tensor([0.0, 0.0, 1.0, 2.0, math.nan, -0.0])
    compressed = torch.tensor([0.0, 3.0, 0.0, 2.0, math.inf, 0.0])
    moments = PairMoments().update(dense, compressed)
    assert (moments.count, moments.zeros_dense, moments.zeros_compressed) == (6, 3, 3)
    assert (moments.zeros_gained, moments.zeros_lost, moments.changed) == (1, 1, 3)
    assert (moments.nonfinite_dense, moments.nonfinite_compressed, moments.finite) == (1, 1, False)


@pytest.mark.parametrize(
    ("total", "groups", "length", "count"), [(1000, 100, 10, 100), (1005, 100, 10, 101), (7, 100, 1, 7)]
)
def test_groups_are_the_papers_chunks(total, groups, length, count):
    sums = GroupSums.empty(total, groups)
    assert (sums.length, sums.mean_delta.numel()) == (length, count)


@given(st.integers(1, 400), st.integers(1, 50), st.integers(1, 37))
def test_group_means_agree_with_splitting_the_whole_vector(total, groups, chunk):
    generator = torch.Generator().manual_seed(total)
    x = torch.randn(total, generator=generator, dtype=torch.float64)
    y = torch.randn(total, generator=generator, dtype=torch.float64)
    first, second = GroupSums.empty(total, groups), GroupSums.empty(total, groups)
    for number, start in enumerate(range(0, total, chunk)):
        piece = slice(start, start + chunk)
        if number % 2:
            first = first.update(x[piece], y[piece], start)
        else:
            second = second.update(x[piece], y[piece], start)
    expected = torch.stack([part.mean() for part in (x - y).split(max(1, total // groups))])
    # Means of at most 400 numbers of order one, whose sums are taken in another order.
    torch.testing.assert_close(first.merge(second).mean_delta, expected, rtol=1e-12, atol=1e-13)


def test_one_pass_over_many_chunks_equals_the_whole(monkeypatch):
    monkeypatch.setattr(
        "shrinkscope.weights.view.TensorView.chunks", lambda self: iter(self.read().reshape(-1).split(7))
    )
    dense, compressed = torch.randn(10, 10), torch.randn(10, 10)
    tensors = pair(open_weights({"w": dense}), open_weights({"w": compressed}), LayerSelection()).pairs[0]
    summary = summarise(tensors, groups=[9])
    delta = (dense.to(torch.float64) - compressed.to(torch.float64)).reshape(-1)
    assert summary.moments.square_delta == pytest.approx(float(delta @ delta), rel=1e-13)
    torch.testing.assert_close(summary.delta(), delta, rtol=0, atol=0)
    means = torch.stack([part.mean() for part in delta.split(11)])
    torch.testing.assert_close(summary.groups[9].mean_delta, means, rtol=1e-12, atol=1e-15)


def test_taking_the_delta_leaves_float64_weights_alone():
    dense = torch.ones(3, dtype=torch.float64)
    tensors = pair(open_weights({"w": dense}), open_weights({"w": torch.zeros(3)}), LayerSelection()).pairs[0]
    assert summarise(tensors).delta().sum() == 3
    assert dense.sum() == 3
