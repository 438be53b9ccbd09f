"""Sums of xxᵀ: in float64 whatever comes in, merged, and in blocks."""

import pytest
import torch

from shrinkscope.curvature.second_moment import SecondMoment, block_width
from shrinkscope.errors import CurvatureError


def test_float32_vectors_are_summed_in_float64():
    # 1 + 2⁻³⁰ needs float64; 2²⁰ products of float32 numbers would lose it.
    vectors = torch.full((1, 1 << 12, 2), 1 + 2**-12, dtype=torch.float32)
    moment = SecondMoment.empty(1, 2, 2).update(vectors).update(vectors)
    assert moment.vectors == (1 << 13,)
    assert bool((moment.sums == (1 << 13) * (1 + 2**-12) ** 2).all())


def test_moments_of_other_shapes_do_not_merge():
    with pytest.raises(CurvatureError, match=r"shapes \(1, 1, 2, 2\) and \(1, 2, 1, 1\) cannot be merged"):
        SecondMoment.empty(1, 2, 2).merge(SecondMoment.empty(1, 2, 1))


@pytest.mark.parametrize(
    ("structure", "columns", "natural", "width"),
    [
        ("full", 18, 9, 18),
        ("diagonal", 18, 9, 1),
        ("block", 18, 9, 9),
        ("block", 128, None, 64),
        ("block", 90, None, 45),
        ("block", 20, None, 20),
        ("block", 131, None, 1),
    ],
)
def test_widths_divide_the_columns(structure, columns, natural, width):
    assert block_width(structure, columns, natural) == width
    assert columns % width == 0


def test_vectors_of_one_group_are_counted_in_that_group():
    vectors = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    moment = SecondMoment.empty(3, 2, 2).update(vectors, group=1).merge(SecondMoment.empty(3, 2, 2).update(vectors, 1))
    assert moment.vectors == (0, 4, 0)
    truth = vectors[0].T.to(torch.float64) @ vectors[0].to(torch.float64)
    assert bool((moment.mean()[1, 0] == truth / 2).all())
    assert bool((moment.mean()[[0, 2]] == 0).all())
