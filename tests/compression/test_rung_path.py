"""A layer on a few rungs: what each holds, and the first-order change on the way."""

import pytest
import torch

from shrinkscope.compression import UniformQuantisation
from shrinkscope.compression.rung_path import RungPath, bits_path

WEIGHT = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_first_rung_is_dense_and_the_others_are_quantised_by_channel():
    path = bits_path("layer", WEIGHT, (8, 4, 2))
    assert path.size == 3
    assert torch.equal(path.weight(0), WEIGHT)
    for position, bits in ((1, 8), (2, 4), (3, 2)):
        expected = UniformQuantisation(bits=bits, granularity="channel").compress({"layer": WEIGHT})["layer"]
        path.settle(position)
        assert torch.equal(path.weight(position), expected)
        # A step for each channel: 2^(b-1) - 1 levels either way reach its largest magnitude.
        largest = WEIGHT.flatten(1).abs().amax(1)
        assert torch.equal(expected.flatten(1).abs().amax(1), largest)


def test_the_change_of_a_linear_function_is_exact():
    rungs = [WEIGHT, WEIGHT / 2, torch.zeros_like(WEIGHT)]
    gradient = torch.randn(WEIGHT.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    change = RungPath(rungs).change(gradient)
    whole = float((gradient * WEIGHT).sum())
    # Sums of 60 products of order one in float64.
    assert change.tolist() == pytest.approx([0.0, -whole / 2, -whole], abs=1e-12)
