"""Every covariance against its own dense matrix: one set of promises, inherited by each structure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkscope.divergence.covariance import (
    Covariance,
    Dense,
    Diagonal,
    Isotropic,
    Kronecker,
    LowRankPlusDiagonal,
    PowerLaw,
    RandomEigenvectors,
    Rotated,
    Uniform,
)
from shrinkscope.errors import DivergenceError


class Tridiagonal(Covariance):
    """A user's own structure, with the abstract members only: tests what the base class adds."""

    def __init__(self, dim: int) -> None:
        self.size = dim

    @property
    def dim(self):
        return self.size

    def matmul(self, x):
        x = self.vector(x)
        shifted = torch.zeros_like(x)
        shifted[..., 1:] += x[..., :-1]
        shifted[..., :-1] += x[..., 1:]
        return 3 * x + shifted

    def solve(self, x):
        return torch.linalg.solve(self.dense(), self.vector(x).unsqueeze(-1)).squeeze(-1)

    def logdet(self):
        return float(torch.logdet(self.dense()))

    def trace(self):
        return 3.0 * self.size

    def diagonal(self):
        return torch.full((self.size,), 3.0, dtype=torch.float64)


def positive_definite(dim: int, generator: torch.Generator) -> torch.Tensor:
    normals = torch.randn(dim, dim + 2, generator=generator, dtype=torch.float64)
    return normals @ normals.mT + 0.1 * torch.eye(dim, dtype=torch.float64)


def uniform(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return 0.1 + torch.rand(*shape, generator=generator, dtype=torch.float64)


def normal(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


STRUCTURES = {
    "isotropic": lambda g: Isotropic(24, 2.5),
    "diagonal": lambda g: Diagonal(uniform(24, generator=g)),
    "low rank": lambda g: LowRankPlusDiagonal(uniform(24, generator=g), normal(24, 3, generator=g)),
    "rank zero": lambda g: LowRankPlusDiagonal(uniform(24, generator=g), normal(24, 0, generator=g)),
    "more directions than dimensions": lambda g: LowRankPlusDiagonal(
        uniform(24, generator=g), normal(24, 30, generator=g)
    ),
    "kronecker": lambda g: Kronecker(positive_definite(6, g), positive_definite(4, g)),
    "dense": lambda g: Dense(positive_definite(24, g)),
    "one dimension": lambda g: Dense(positive_definite(1, g)),
    "rotated": lambda g: Rotated(RandomEigenvectors(24, g), PowerLaw(exponent=0.5), scale=0.3),
    "rotated uniform": lambda g: Rotated(RandomEigenvectors(24, g), Uniform(low=0.1, high=2.0)),
    "of a user": lambda g: Tridiagonal(24),
}


@pytest.fixture(params=sorted(STRUCTURES))
def covariance(request) -> Covariance:
    return STRUCTURES[request.param](torch.Generator().manual_seed(7))


@pytest.fixture
def vectors(covariance) -> torch.Tensor:
    return normal(2, 3, covariance.dim, generator=torch.Generator().manual_seed(8))


def assert_agree(got: torch.Tensor, expected: torch.Tensor) -> None:
    # Condition numbers here stay below 1e4, where ε·κ = 2e-12.
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_matmul_agrees_with_the_dense_matrix(covariance, vectors):
    assert_agree(covariance.matmul(vectors), vectors @ covariance.dense())


def test_solve_undoes_the_dense_matrix(covariance, vectors):
    assert_agree(covariance.solve(vectors @ covariance.dense()), vectors)


def test_quadratic_agrees_with_a_dense_solve(covariance, vectors):
    flat = vectors.reshape(-1, covariance.dim)
    expected = (flat * torch.linalg.solve(covariance.dense(), flat.mT).mT).sum(-1).reshape(2, 3)
    assert_agree(covariance.quadratic(vectors), expected)


def test_root_squares_to_the_dense_matrix(covariance):
    root = covariance.root(torch.eye(covariance.dim, dtype=torch.float64)).mT
    assert_agree(root @ root.mT, covariance.dense())


def test_whiten_undoes_root(covariance, vectors):
    assert_agree(covariance.whiten(covariance.root(vectors)), vectors)


def test_logdet_trace_and_diagonal_agree_with_the_dense_matrix(covariance):
    matrix = covariance.dense()
    assert math.isclose(covariance.logdet(), float(torch.logdet(matrix)), rel_tol=1e-11, abs_tol=1e-11)
    assert math.isclose(covariance.trace(), float(matrix.trace()), rel_tol=1e-12)
    assert_agree(covariance.diagonal(), matrix.diagonal())


def test_condition_number_is_that_of_the_matrix(covariance):
    assert math.isclose(covariance.condition_number(), float(torch.linalg.cond(covariance.dense())), rel_tol=1e-9)


def test_lanczos_estimates_the_condition_number_of_a_larger_structure():
    covariance = Tridiagonal(80)  # eigenvalues 3 + 2 cos(kπ/81), k = 1 … 80
    exact = (3 + 2 * math.cos(math.pi / 81)) / (3 + 2 * math.cos(80 * math.pi / 81))
    assert math.isclose(covariance.condition_number(), exact, rel_tol=1e-6)


def test_quadratic_is_differentiable(covariance):
    x = normal(2, covariance.dim, generator=torch.Generator().manual_seed(9)).requires_grad_()
    assert torch.autograd.gradcheck(covariance.quadratic, (x,))


def test_single_precision_vectors_are_worked_with_in_double(covariance, vectors):
    single = vectors.to(torch.float32)
    torch.testing.assert_close(covariance.quadratic(single), covariance.quadratic(single.to(torch.float64)))


def test_a_vector_of_another_length_is_refused(covariance):
    with pytest.raises(
        DivergenceError, match=rf"shape \(2, 77\) does not fit a covariance of dimension {covariance.dim}"
    ):
        covariance.quadratic(torch.zeros(2, 77))


def test_its_name_and_dimension_are_shown(covariance):
    assert repr(covariance) == f"{type(covariance).__name__}(dim={covariance.dim})"


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    rank=st.integers(0, 4),
    seed=st.integers(0, 2**31),
    power=st.integers(-12, 12),
)
def test_any_shape_and_magnitude_agrees_with_the_dense_matrix(rows, columns, rank, seed, power):
    generator = torch.Generator().manual_seed(seed)
    unit, dim = 10.0**power, rows * columns
    for covariance in (
        Kronecker(positive_definite(rows, generator) * unit, positive_definite(columns, generator)),
        LowRankPlusDiagonal(
            uniform(dim, generator=generator) * unit, normal(dim, rank, generator=generator) * math.sqrt(unit)
        ),
    ):
        x = normal(dim, generator=generator)
        dense = Dense(covariance.dense())
        # κ ≤ about 1e5 for these draws: ε·κ = 2e-11, times a small constant.
        torch.testing.assert_close(covariance.quadratic(x), dense.quadratic(x), rtol=1e-8, atol=0)
        assert math.isclose(covariance.logdet(), dense.logdet(), rel_tol=1e-9, abs_tol=1e-8)
