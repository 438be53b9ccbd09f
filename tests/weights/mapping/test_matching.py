"""Matching of channels against a dense float64 table of cosines; the chance of a cosine against its distribution."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.weights.mapping import matching
from shrinkscope.weights.mapping.matching import CHANCE, Channels, chance_cosine, match


def channels(rows: torch.Tensor) -> Channels:
    return Channels(count=len(rows), width=rows.shape[1], read=lambda low, high: rows[low:high].float())


def reference(wide: torch.Tensor, narrow: torch.Tensor, margin: float) -> tuple[list[int | None], list[bool]]:
    """Mutual best matches and which of them are certain, from the whole table."""
    unit = [torch.nn.functional.normalize(side.double(), dim=1) for side in (wide, narrow)]
    table = unit[0] @ unit[1].T
    kept: list[int | None] = []
    sure = []
    for column in range(table.shape[1]):
        row = int(table[:, column].argmax())
        mutual = int(table[row].argmax()) == column
        table[row, column], best = -2.0, float(table[row, column])
        runner = max(float(table[row].max()), float(table[:, column].max()))
        table[row, column] = best
        clear = best - runner > margin
        kept.append(row if mutual else None)
        sure.append(mutual and clear and best > chance_cosine(wide.shape[1], len(wide)))
    return kept, sure


@pytest.mark.parametrize("tile", [40, 1 << 23])
@given(seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([0.0, 0.3, 1.0, 3.0]))
def test_matches_are_those_of_the_whole_table(tile, seed, noise):
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(9, 12, generator=generator)
    narrow = wide[torch.randperm(9, generator=generator)[:6]]
    narrow = narrow + noise * torch.randn(narrow.shape, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "TILE", tile)
        found = match(channels(wide), channels(narrow), 0.05)
    kept, sure = reference(wide, narrow, 0.05)
    assert all(want in (None, got) for got, want in zip(found.kept.tolist(), kept, strict=True))
    assert found.sure.tolist() == sure
    assert found.certainty == pytest.approx(sum(sure) / 6)
    assert len(set(found.kept.tolist())) == 6


@pytest.mark.parametrize(("width", "count"), [(3, 1), (9, 64), (147, 64), (4096, 14336)])
def test_chance_is_that_of_uniform_directions(width, count):
    c = chance_cosine(width, count)
    # P(cos > c) is the integral of the density (1 − x²)^((d−3)/2) over [c, 1] over that over [−1, 1].
    with mpmath.workdps(30):
        density = lambda x: (1 - x * x) ** mpmath.mpf((width - 3) / 2)  # noqa: E731
        above = mpmath.quad(density, mpmath.linspace(c, 1, 9))
        single = above / (2 * mpmath.quad(density, [0, *mpmath.linspace(c / 2, 1, 9)]))
        any_of_them = 1 - (1 - single) ** count
    # The quadrature has 30 digits; the inverse of the incomplete beta function some ten.
    assert float(any_of_them) == pytest.approx(CHANCE, rel=1e-6)


def test_one_dimension_tells_nothing():
    assert chance_cosine(1, 5) == 1.0
    found = match(channels(torch.tensor([[1.0], [2.0]])), channels(torch.tensor([[2.0]])), 0.05)
    assert found.certainty == 0.0


def test_channels_of_zeros_do_not_count():
    wide = torch.randn(6, 30, generator=torch.Generator().manual_seed(1))
    narrow = wide[[4, 2, 0]].clone()
    narrow[1] = 0
    found = match(channels(wide), channels(narrow), 0.05)
    assert found.certainty == 1.0
    assert found.kept[[0, 2]].tolist() == [4, 0]
    assert math.isclose(found.cosine, 1.0, rel_tol=1e-6)  # float32 cosines
    assert not found.in_order


def test_equal_channels_are_not_certain():
    wide = torch.ones(4, 30) + torch.arange(30)
    assert match(channels(wide), channels(wide[:2]), 0.05).certainty == 0.0
