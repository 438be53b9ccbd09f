"""Boxes against integrals of their densities in two dimensions, and in a million against logarithms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references import optimal_transport
from shrinkscope.divergence import (
    UniformBox,
    bhattacharyya,
    chi_squared,
    hellinger,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
    wasserstein2,
)
from shrinkscope.errors import DivergenceError

coordinates = st.floats(-2.0, 2.0).map(lambda x: round(8 * x) / 8)  # multiples of ⅛, so that edges lie on the grid
half_widths = st.floats(0.125, 2.0).map(lambda x: max(1, round(8 * x)) / 8)


def box(centre, half) -> UniformBox:
    return UniformBox(torch.tensor(centre, dtype=torch.float64), torch.tensor(half, dtype=torch.float64))


def densities(p: UniformBox, q: UniformBox) -> tuple[np.ndarray, np.ndarray, float]:
    """Both densities at the middles of squares of edge ⅛, in which they are constant, and the area of one."""
    middles = np.arange(-4 + 1 / 16, 4, 1 / 8)
    points = np.stack(np.meshgrid(middles, middles), -1)
    values = [
        np.all(np.abs(points - b.centre.numpy()) <= b.half_widths().numpy(), -1) / (4 * b.half_widths().prod().item())
        for b in (p, q)
    ]
    return values[0], values[1], 1 / 64


@given(
    centres=st.tuples(*[coordinates] * 4), halves=st.tuples(*[half_widths] * 4), order=st.sampled_from([0.3, 0.5, 0.9])
)
@settings(max_examples=60)
def test_all_agree_with_sums_over_small_squares(centres, halves, order):
    p, q = box(centres[:2], halves[:2]), box(centres[2:], halves[2:])
    a, b, area = densities(p, q)
    both, only_p = (a > 0) & (b > 0), (a > 0) & (b == 0)
    m = (a + b) / 2
    # Tolerances: a hundred roundings of numbers of order one.
    assert total_variation(p, q).value == pytest.approx(float(np.abs(a - b).sum() / 2 * area), rel=1e-11, abs=1e-13)
    overlap = float(np.sqrt(a * b).sum() * area)
    assert hellinger(p, q).value ** 2 == pytest.approx(1 - overlap, rel=1e-11, abs=1e-13)
    if overlap > 0:
        integral = float((a[both] ** order * b[both] ** (1 - order)).sum() * area)
        assert bhattacharyya(p, q).value == pytest.approx(-math.log(overlap), rel=1e-11, abs=1e-13)
        assert renyi(p, q, order).value == pytest.approx(math.log(integral) / (order - 1), rel=1e-11, abs=1e-13)
    else:
        assert bhattacharyya(p, q).value == renyi(p, q, order).value == math.inf
    js = sum(float((x[x > 0] * np.log(x[x > 0] / m[x > 0])).sum() * area) for x in (a, b)) / 2
    assert jensen_shannon(p, q).value == pytest.approx(js, rel=1e-11, abs=1e-13)
    if only_p.any():
        assert kl(p, q).value == chi_squared(p, q).value == renyi(p, q, 1.5).value == math.inf
    else:
        expected = float((a[both] * np.log(a[both] / b[both])).sum() * area)
        assert kl(p, q).value == renyi(p, q, 1.0).value == renyi(p, q, 7.0).value
        assert kl(p, q).value == pytest.approx(expected, rel=1e-11, abs=1e-13)
        assert chi_squared(p, q).value == pytest.approx(
            float((a[both] ** 2 / b[both]).sum() * area) - 1, rel=1e-11, abs=1e-13
        )


@given(centres=st.tuples(*[coordinates] * 2), halves=st.tuples(*[half_widths] * 2))
@settings(max_examples=10)
def test_wasserstein_on_the_line_agrees_with_quantiles(centres, halves):
    p, q = box(centres[:1], halves[:1]), box(centres[1:], halves[1:])
    lower, upper = (
        [lambda u, c=c, h=h, side=side: c + side * h * (2 * u - 1) for c, h in zip(centres, halves, strict=True)]
        for side in (1, -1)
    )
    # Levels below e^−60 are left out by the reference.
    assert wasserstein2(p, q).value == pytest.approx(optimal_transport.on_the_line(lower, upper), rel=1e-11, abs=1e-11)


def test_equal_boxes_have_ap2_as_squared_wasserstein_distance_and_no_finite_kl():
    dense, compressed = torch.tensor([0.3, -0.2, 0.1]), torch.tensor([0.3, 0.0, 0.0])
    p, q = UniformBox(dense, 0.5), UniformBox(compressed, 0.5)
    ap2 = float((dense.to(torch.float64) - compressed.to(torch.float64)).square().sum())
    assert wasserstein2(p, q).value ** 2 == pytest.approx(ap2, rel=1e-15)
    assert (kl(p, q).value, kl(p, q).status) == (math.inf, "exact")
    assert kl(p, p).value == 0.0


def test_a_million_dimensions_neither_over_nor_underflow():
    n, shift = 1_000_000, 1e-9
    p, q = UniformBox(torch.zeros(n), 1e-3), UniformBox(torch.full((n,), shift, dtype=torch.float64), 1e-3)
    log_share = n * math.log1p(-shift / 2e-3)  # about −0.5; the volumes themselves are 1e−2,700,000
    assert total_variation(p, q).value == pytest.approx(-math.expm1(log_share), rel=1e-9)
    assert bhattacharyya(p, q).value == pytest.approx(-log_share, rel=1e-9)
    assert jensen_shannon(p, q).value == pytest.approx(-math.expm1(log_share) * math.log(2), rel=1e-9)
    assert total_variation(p, UniformBox(torch.ones(n), 1e-3)).value == 1.0


def test_units():
    p = box([0.0], [1.0])
    units = [divergence(p, p).unit for divergence in (kl, chi_squared, total_variation, jensen_shannon, wasserstein2)]
    assert units == ["nats", "1", "probability", "nats", "weight"]


def test_a_chi_squared_beyond_the_largest_number_is_refused():
    with pytest.raises(DivergenceError, match="more than the largest float64"):
        chi_squared(UniformBox(torch.zeros(2000), 1.0), UniformBox(torch.zeros(2000), 2.0))


@pytest.mark.parametrize("order", [0.0, -2.0])
def test_the_order_must_be_positive(order):
    with pytest.raises(DivergenceError, match="expected a positive finite order"):
        renyi(box([0.0], [1.0]), box([0.0], [1.0]), order)
