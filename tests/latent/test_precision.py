"""Structured precisions against dense matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.errors import LatentError
from shrinkscope.latent import DiagonalPrecision, KroneckerPrecision, PermutedPrecision, Precisions


def semidefinite(*shape: int, rank: int, seed: int) -> torch.Tensor:
    factor = torch.randn(*shape, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.mT


@given(
    groups=st.integers(1, 3),
    outputs=st.integers(1, 3),
    blocks=st.integers(1, 3),
    width=st.integers(1, 3),
    whole=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_kronecker_agrees_with_the_dense_matrix(groups, outputs, blocks, width, whole, seed):
    right = semidefinite(groups, blocks, width, rank=2, seed=seed)
    left = semidefinite(groups, outputs, rank=2, seed=seed + 1) if whole else None
    identity = torch.eye(outputs, dtype=torch.float64)
    dense = torch.block_diag(
        *(torch.kron(identity if left is None else left[g], torch.block_diag(*right[g])) for g in range(groups))
    )
    precision = KroneckerPrecision(right, outputs, left)
    x = torch.randn(len(dense), generator=torch.Generator().manual_seed(seed + 2), dtype=torch.float64)
    # At most 27 coordinates of order one, 27² products.
    assert precision.dim == len(dense)
    assert precision.quadratic(x) == pytest.approx(float(x @ dense @ x), rel=1e-9, abs=1e-11)
    assert precision.trace() == pytest.approx(float(dense.trace()), rel=1e-12)
    assert precision.rank() == int(torch.linalg.matrix_rank(dense, hermitian=True))


def test_diagonal():
    precision = DiagonalPrecision(torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64))
    x = torch.tensor([1.0, 5.0, -2.0, 2.0], dtype=torch.float64)
    assert (precision.dim, precision.rank(), precision.trace()) == (4, 3, 3.5)
    assert precision.quadratic(x) == 2.0 + 4.0 + 2.0


def test_what_is_refused():
    with pytest.raises(LatentError, match="an entry of -1; expected ≥ 0"):
        DiagonalPrecision(torch.tensor([1.0, -1.0]))
    with pytest.raises(LatentError, match="infinite or NaN"):
        DiagonalPrecision(torch.tensor([1.0, float("nan")]))
    with pytest.raises(LatentError, match=r"right has shape \(2, 2\)"):
        KroneckerPrecision(torch.eye(2), 3)
    with pytest.raises(LatentError, match=r"left has shape \(1, 2, 2\); expected \(1, 3, 3\)"):
        KroneckerPrecision(torch.eye(2)[None, None], 3, torch.eye(2)[None])


def test_precisions_are_a_mapping_with_reasons():
    one = DiagonalPrecision(torch.ones(3))
    known = Precisions("fisher", {"a": one}, {"b": "a bias"}, "of two inputs")
    assert list(known) == ["a"]
    assert len(known) == 1
    assert known["a"] is one is known.of("a", 3)
    assert repr(known) == "Precisions('fisher', of two inputs, 1 layers)"
    with pytest.raises(LatentError, match="^a bias$"):
        known.of("b", 3)
    with pytest.raises(LatentError, match="^no Σ⁻¹ was gathered for c$"):
        known.of("c", 3)


def test_a_permuted_precision_takes_the_weights_in_their_own_order():
    # Stored as (2, 3), written for (3, 2).
    right = semidefinite(1, 3, rank=2, seed=1).unsqueeze(0)
    inner = KroneckerPrecision(right, 2)
    found = PermutedPrecision(inner, shape=(3, 2), order=(1, 0))
    x = torch.arange(6, dtype=torch.float64)
    assert found.quadratic(x) == inner.quadratic(x.reshape(3, 2).T.reshape(-1))
    assert (found.dim, found.trace(), found.rank()) == (6, inner.trace(), inner.rank())
    with pytest.raises(LatentError, match=r"weights of shape \(3, 3\) do not fit a precision of 6 weights"):
        PermutedPrecision(inner, shape=(3, 3), order=(1, 0))
    with pytest.raises(LatentError, match=r"order = \(0, 2\) is no order of the 2 dimensions"):
        PermutedPrecision(inner, shape=(3, 2), order=(0, 2))
