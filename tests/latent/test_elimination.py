"""The order in which weights go, against removing one after another; the weights on the way, against solving anew."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkscope.errors import LatentError
from shrinkscope.latent import DiagonalPrecision, KroneckerPrecision, PermutedPrecision
from shrinkscope.latent import elimination as elimination_module
from shrinkscope.latent.compensation import nearest_rows, removal_costs
from shrinkscope.latent.elimination import nearest_along, removal_keys


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def definite(columns, seed):
    factor = normal(columns, columns + 2, seed=seed)
    return factor @ factor.mT / columns


def one_after_another(row, matrix):
    """In which order the weights of a row go, and what each costs then, from a fresh inverse at every step."""
    kept, order, costs = list(range(len(row))), [], []
    while kept:
        block = matrix[np.ix_(kept, kept)]
        best = np.linalg.solve(block, (matrix @ row)[kept])
        saliency = best**2 / np.diag(np.linalg.inv(block))
        at = int(saliency.argmin())
        order.append(kept.pop(at))
        costs.append(saliency[at])
    return order, np.maximum.accumulate(costs)


@settings(max_examples=60)
@given(rows=st.integers(1, 4), columns=st.integers(1, 11), seed=st.integers(0, 10_000))
def test_short_rows_lose_one_weight_after_another(rows, columns, seed):
    # Below 24 columns a twelfth of what is left is one weight.
    matrix, weights = definite(columns, seed), normal(rows, columns, seed=seed + 1)
    keys = removal_keys(weights, matrix)
    for row in range(rows):
        order, costs = one_after_another(weights[row].numpy(), matrix.numpy())
        # A⁻¹ is updated eleven times at condition numbers below 1e6 or so: six digits are left with certainty.
        np.testing.assert_allclose(keys[row].numpy()[order], costs, rtol=1e-6, atol=1e-12)


def test_a_part_of_a_long_row_goes_by_what_each_weight_costs_alone():
    matrix, weights = definite(60, 1), normal(3, 60, seed=2)
    keys = removal_keys(weights, matrix)
    everything = torch.ones(3, 60, dtype=torch.bool)
    costs = removal_costs(weights, everything, matrix)
    first = costs.argsort(dim=1)[:, :5]
    torch.testing.assert_close(keys.gather(1, first), costs.gather(1, first), rtol=1e-9, atol=0)
    assert bool((keys.argsort(dim=1)[:, :5] == first).all())
    kept = everything.scatter(1, first, False)
    later = removal_costs(nearest_rows(weights, kept, matrix), kept, matrix).masked_fill(~kept, float("inf"))
    following = later.argsort(dim=1)[:, :4]
    expected = torch.maximum(later.gather(1, following), costs.gather(1, first[:, -1:]))
    torch.testing.assert_close(keys.gather(1, following), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("count", [12, 24, 36])
def test_the_order_loses_hardly_more_than_one_weight_after_another(count):
    lost = torch.zeros(3, dtype=torch.float64)
    for seed in range(20):
        matrix, weights = definite(48, seed), normal(1, 48, seed=seed + 100)
        exact = torch.empty(1, 48, dtype=torch.int64)
        exact[0, one_after_another(weights[0].numpy(), matrix.numpy())[0]] = torch.arange(48)
        turns = removal_keys(weights, matrix).argsort(dim=1).argsort(dim=1)
        magnitude = weights.abs().argsort(dim=1).argsort(dim=1)
        for number, when in enumerate((turns, exact, magnitude)):
            delta = (weights - nearest_rows(weights, when >= count, matrix))[0]
            lost[number] += delta @ matrix @ delta
    # Fixed seeds, so nothing is left to chance: in parts it costs up to an eighth more, by magnitude far more.
    assert lost[0] <= 1.125 * lost[1]
    assert lost[0] <= 0.7 * lost[2]


@settings(max_examples=60)
@given(rows=st.integers(1, 4), columns=st.integers(1, 9), seed=st.integers(0, 10_000))
def test_weights_on_the_way_are_the_nearest(rows, columns, seed):
    matrix, weights = definite(columns, seed), normal(rows, columns, seed=seed + 1)
    turns = torch.randperm(rows * columns, generator=seeded(seed)).view(rows, columns)
    counts = [0, 1, rows * columns // 2, rows * columns - 1, rows * columns]
    found = nearest_along(weights, turns, counts, matrix)
    for count, mine in zip(counts, found, strict=True):
        # Both solve with the same blocks of A, in another order of its columns.
        torch.testing.assert_close(mine, nearest_rows(weights, turns >= count, matrix), rtol=1e-7, atol=1e-8)
        assert bool((mine[turns < count] == 0).all())


def test_rows_are_taken_in_parts_of_bounded_memory(monkeypatch):
    matrix, weights = definite(7, 1), normal(9, 7, seed=2)
    turns = torch.randperm(63, generator=seeded(3)).view(9, 7)
    whole = removal_keys(weights, matrix), nearest_along(weights, turns, [10, 30], matrix)
    monkeypatch.setattr(elimination_module, "_BYTES", 2 * 8 * 49)
    parts = removal_keys(weights, matrix), nearest_along(weights, turns, [10, 30], matrix)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)


STRUCTURES = [
    DiagonalPrecision(torch.tensor([1.0, 2.0, 3.0, 0.5])),
    KroneckerPrecision(torch.stack([torch.stack([definite(2, s + 2 * g) for s in range(2)]) for g in range(2)]), 3),
    PermutedPrecision(KroneckerPrecision(definite(6, 9)[None, None], 2), shape=(1, 3, 2, 2), order=(0, 2, 1, 3)),
]


@pytest.mark.parametrize("precision", STRUCTURES, ids=lambda p: type(p).__name__)
def test_every_structure_agrees_with_its_own_nearest_weights_and_costs(precision):
    x = normal(precision.dim, seed=4)
    keys = precision.removal_keys(x, 0.1)
    turns = keys.argsort().argsort()
    counts = [0, 1, precision.dim // 2, precision.dim]
    for count, found in zip(counts, precision.nearest_along(x, turns, counts, 0.1), strict=True):
        torch.testing.assert_close(found, precision.nearest(x, turns >= count, 0.1), rtol=1e-9, atol=1e-10)
    dense = precision.removal_costs(x, torch.ones_like(x, dtype=torch.bool), 0.1)
    # The first to go is the cheapest of all; the others cost what they do alone, or what they do later.
    assert keys.argmin() == dense.argmin()
    assert float(keys.min()) == pytest.approx(float(dense.min()), rel=1e-9)


def test_what_cannot_be_solved():
    singular = KroneckerPrecision(torch.ones(1, 1, 2, 2, dtype=torch.float64), 1)
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with pytest.raises(LatentError, match="Σ⁻¹ is singular on the weights that are kept.*set damping"):
        singular.removal_keys(x)
    with pytest.raises(LatentError, match="Σ⁻¹ is singular"):
        singular.nearest_along(x, torch.tensor([0, 1]), [0])
    assert singular.removal_keys(x, 0.01).shape == (2,)
    coupled = KroneckerPrecision(definite(2, 1)[None, None], 2, definite(2, 2)[None])
    for ask in (lambda: coupled.removal_keys(normal(4, seed=1)), lambda: coupled.nearest_along(x, x, [0])):
        with pytest.raises(LatentError, match="couples the rows"):
            ask()
