"""The best kept weights, and what each costs, against least squares solved weight by weight."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkscope.errors import LatentError
from shrinkscope.latent import DiagonalPrecision, KroneckerPrecision, PermutedPrecision, Precision
from shrinkscope.latent import compensation as compensation_module
from shrinkscope.latent.compensation import nearest_rows, removal_costs


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def definite(columns, seed):
    factor = torch.randn(columns, columns + 2, generator=seeded(seed), dtype=torch.float64)
    return factor @ factor.mT


def by_least_squares(row, kept, matrix):
    """Minimise ‖Lᵀ(w − w̃)‖² with NumPy, L being the Cholesky factor of A."""
    root = np.linalg.cholesky(matrix.numpy()).T
    found = np.zeros(len(row))
    if kept.any():
        found[kept] = np.linalg.lstsq(root[:, kept], root @ row, rcond=None)[0]
    return found


cases = given(rows=st.integers(1, 4), columns=st.integers(1, 6), share=st.floats(0, 1), seed=st.integers(0, 10_000))


@settings(max_examples=80)
@cases
def test_the_kept_weights_are_those_of_least_squares(rows, columns, share, seed):
    matrix = definite(columns, seed)
    weights = torch.randn(rows, columns, generator=seeded(seed + 1), dtype=torch.float64)
    kept = torch.rand(rows, columns, generator=seeded(seed + 2)) < share
    found = nearest_rows(weights, kept, matrix)
    expected = np.stack([by_least_squares(*pair, matrix) for pair in zip(weights.numpy(), kept.numpy(), strict=True)])
    # Condition numbers of six random columns stay below 1e6 here: ten digits are left.
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-8)
    assert bool((found[~kept] == 0).all())


@settings(max_examples=40)
@cases
def test_the_cost_of_a_weight_is_what_its_removal_adds(rows, columns, share, seed):
    matrix = definite(columns, seed)
    weights = torch.randn(rows, columns, generator=seeded(seed + 1), dtype=torch.float64)
    kept = torch.rand(rows, columns, generator=seeded(seed + 2)) < share
    best = nearest_rows(weights, kept, matrix)
    costs = removal_costs(best, kept, matrix)

    def lost(row, mask):
        delta = weights[row].numpy() - by_least_squares(weights[row].numpy(), mask, matrix)
        return delta @ matrix.numpy() @ delta

    for row in range(rows):
        for column in range(columns):
            without = kept[row].numpy().copy()
            without[column] = False
            grown = lost(row, without) - lost(row, kept[row].numpy())
            assert costs[row, column].item() == pytest.approx(grown, rel=1e-6, abs=1e-7)


def test_rows_are_solved_in_parts_of_bounded_memory(monkeypatch):
    matrix = definite(5, 1)
    weights = torch.randn(7, 5, generator=seeded(2), dtype=torch.float64)
    kept = torch.rand(7, 5, generator=seeded(3)) < 0.5
    whole = nearest_rows(weights, kept, matrix), removal_costs(weights, kept, matrix)
    monkeypatch.setattr(compensation_module, "_BYTES", 2 * 8 * 25)
    parts = nearest_rows(weights, kept, matrix), removal_costs(weights, kept, matrix)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)


def dense(precision: Precision) -> torch.Tensor:
    """Σ⁻¹ from its quadratic form: entries by polarisation."""
    units = torch.eye(precision.dim, dtype=torch.float64)
    alone = [precision.quadratic(unit) for unit in units]
    sums = [[precision.quadratic(a + b) for b in units] for a in units]
    return torch.tensor(
        [[(sums[i][j] - alone[i] - alone[j]) / 2 for j in range(precision.dim)] for i in range(precision.dim)],
        dtype=torch.float64,
    )


STRUCTURES = [
    DiagonalPrecision(torch.tensor([1.0, 2.0, 3.0, 0.5])),
    KroneckerPrecision(torch.stack([torch.stack([definite(2, s + 2 * g) for s in range(2)]) for g in range(2)]), 3),
    PermutedPrecision(KroneckerPrecision(definite(6, 9)[None, None], 2), shape=(1, 3, 2, 2), order=(0, 2, 1, 3)),
]


@pytest.mark.parametrize("precision", STRUCTURES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_every_structure_finds_the_optimum_of_its_own_quadratic_form(precision, damping):
    matrix = dense(precision)
    if isinstance(precision, KroneckerPrecision):
        blocks = precision.right.diagonal(dim1=-2, dim2=-1).mean(-1)  # (groups, blocks)
        spread = blocks[:, None, :, None].expand(-1, precision.outputs, -1, precision.right.shape[-1])
        damped = matrix + damping * torch.diag(spread.reshape(-1))
    else:
        damped = matrix + damping * matrix.diagonal().mean() * torch.eye(precision.dim, dtype=torch.float64)
    x = torch.randn(precision.dim, generator=seeded(4), dtype=torch.float64)
    kept = torch.rand(precision.dim, generator=seeded(5)) < 0.6
    found = precision.nearest(x, kept, damping)
    expected = by_least_squares(x.numpy(), kept.numpy(), damped)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8, atol=1e-9)
    costs = precision.removal_costs(found, kept, damping)
    inverse = torch.linalg.inv(damped[kept][:, kept]).diagonal()
    torch.testing.assert_close(costs[kept], found[kept].square() / inverse, rtol=1e-8, atol=1e-9)
    assert bool((costs[~kept] == 0).all())
    torch.testing.assert_close(precision.diagonal(), matrix.diagonal(), rtol=1e-9, atol=1e-9)


def test_the_diagonal_of_k_fac():
    left, right = definite(2, 1)[None], definite(3, 2)[None, None]
    torch.testing.assert_close(
        KroneckerPrecision(right, 2, left).diagonal(), torch.kron(left[0], right[0, 0]).diagonal(), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("dead", [1, 2])
def test_weights_of_channels_that_are_always_zero_go_by_magnitude_and_the_kept_ones_stay(dead):
    right = torch.stack([definite(3, 1)[None], torch.zeros(1, 3, 3, dtype=torch.float64)]) * (dead == 1)
    precision = KroneckerPrecision(right, 2)
    x = torch.randn(12, generator=seeded(4), dtype=torch.float64)
    kept = torch.tensor([True, False, True] * 4)
    found = precision.nearest(x, kept, 0.01)
    torch.testing.assert_close(found[6:], torch.where(kept, x, 0.0)[6:], rtol=1e-12, atol=0)
    assert precision.removal_keys(x, 0.01)[6:].argsort().tolist() == x[6:].abs().argsort().tolist()
    if dead == 1:  # what carries something is as without a dead channel
        alone = KroneckerPrecision(right[:1], 2).nearest(x[:6], kept[:6], 0.01)
        torch.testing.assert_close(found[:6], alone, rtol=1e-12, atol=0)
        assert bool((precision.removal_keys(x, 0.01) > 0).all())
    with pytest.raises(LatentError, match="singular on the weights that are kept"):
        precision.nearest(x, kept)


class Unknown(Precision):
    """A structure that knows its quadratic form alone."""

    @property
    def dim(self):
        return 2

    def quadratic(self, x):
        return float(x.square().sum())

    def trace(self):
        return 2.0

    def rank(self):
        return 2


def test_what_is_refused():
    x, kept = torch.ones(2, dtype=torch.float64), torch.tensor([True, True])
    with pytest.raises(LatentError, match="the diagonal of a Unknown is not known; use input moments"):
        Unknown().diagonal()
    for ask in (Unknown().nearest, Unknown().removal_costs):
        with pytest.raises(LatentError, match="a Unknown has no closed form for the kept weights"):
            ask(x, kept)
    with pytest.raises(LatentError, match="a Unknown has no closed form for the kept weights"):
        Unknown().removal_keys(x)
    with pytest.raises(LatentError, match="a Unknown has no closed form for the kept weights"):
        Unknown().nearest_along(x, torch.tensor([0, 1]), [1])
    coupled = KroneckerPrecision(torch.ones(1, 1, 1, 1), 2, torch.eye(2)[None])
    with pytest.raises(LatentError, match=r"couples the rows of a weight \(K-FAC\)"):
        coupled.nearest(x, kept)
    singular = KroneckerPrecision(torch.ones(1, 1, 2, 2), 1)
    with pytest.raises(LatentError, match="singular on the weights that are kept: .* set damping"):
        singular.nearest(x, kept)
    assert singular.nearest(x, torch.tensor([True, False])).tolist() == [2.0, 0.0]
