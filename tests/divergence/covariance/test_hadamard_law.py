"""The law of the random Hadamard operator against the uniform (Haar) law, and the power of the tests that say so.

The question a rotated covariance puts to V is the quadratic form ΔᵀΣ⁻¹Δ. Two-sample Kolmogorov–Smirnov tests compare
its distribution over draws of V with the exact Haar law (and, in a dimension where it is affordable, with the paper's
eigenvectors of R + Rᵀ). Some 220 comparisons, each failing by chance with probability 1e-6: the file fails by chance
with less than 3e-4, once and for all, because every seed is fixed. Change a seed only when the operator changes.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from scipy.stats import kstest

from references.haar import log_ratios, squared_directions
from shrinkscope.divergence.covariance import RandomEigenvectors
from shrinkscope.divergence.covariance.hadamard import RandomHadamard

LEVEL = 1e-6
DRAWS, REFERENCE = 800, 10_000


def differences(dim: int) -> torch.Tensor:
    """Differences of length 1: one weight removed (first, last), two, all by one sign, dense, and pruned ones."""
    normals = torch.randn(dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    first, last, pair = torch.zeros(3, dim, dtype=torch.float64).unbind()
    first[0] = last[-1] = pair[0] = pair[dim // 2] = 1.0
    smallest = torch.where(normals.abs() < normals.abs().quantile(0.3), normals, 0.0)
    rows = torch.stack([first, last, pair, torch.ones(dim, dtype=torch.float64), normals, smallest])
    return rows / rows.norm(dim=-1, keepdim=True)


def spectra(dim: int) -> dict[str, np.ndarray]:
    """Inverse eigenvalues: power laws either way round, uniform ones, two levels, a single direction that counts."""
    rank = np.arange(1, dim + 1, dtype=np.float64)
    return {
        "power law": rank,
        "power law, reversed": rank[::-1],
        "uniform": 1 / (0.5 + (rank - 0.5) / dim),
        "two levels": 1.0 + 9.0 * (rank > dim / 2),
        "first": (rank == 1).astype(np.float64),
        "last": (rank == dim).astype(np.float64),
    }


def squared(vectors: torch.Tensor, draw: Callable[[], torch.Tensor]) -> np.ndarray:
    """(VᵀΔ)² of each difference for each draw of V, shape (draws, differences, dim)."""
    return np.stack([draw().square().numpy() for _ in range(DRAWS)])


@pytest.mark.parametrize(("dim", "block"), [(64, 16), (79, 16), (300, 16), (128, 32), (1009, 32)])
def test_quadratic_forms_follow_the_haar_law(dim, block):
    vectors, generator = differences(dim), torch.Generator().manual_seed(dim)
    squares = squared(vectors, lambda: RandomHadamard(dim, generator, block=block).transpose(vectors))
    directions = squared_directions(dim, REFERENCE, np.random.default_rng(dim))
    for name, inverse in spectra(dim).items():
        expected = directions @ inverse
        for i in range(len(vectors)):
            pvalue = kstest(squares[:, i] @ inverse, expected).pvalue
            assert pvalue > LEVEL, f"difference {i}, {name}: p = {pvalue:.1e}"


def test_quadratic_forms_follow_the_law_of_the_papers_construction():
    dim = 67
    vectors, generator = differences(dim), torch.Generator().manual_seed(dim)
    ours = squared(vectors, lambda: RandomHadamard(dim, generator, block=16).transpose(vectors))
    papers = squared(vectors, lambda: RandomEigenvectors(dim, generator).transpose(vectors))
    for name, inverse in spectra(dim).items():
        for i in range(len(vectors)):
            pvalue = kstest(ours[:, i] @ inverse, papers[:, i] @ inverse).pvalue
            assert pvalue > LEVEL, f"difference {i}, {name}: p = {pvalue:.1e}"


@pytest.mark.parametrize("cosine", [0.0, 0.9])
def test_two_differences_under_one_rotation_follow_the_joint_haar_law(cosine):
    # What a study reads off is which of two methods has the larger form.
    dim, generator = 300, torch.Generator().manual_seed(4)
    one = differences(dim)[0]
    other = cosine * one + np.sqrt(1 - cosine**2) * torch.eye(dim, dtype=torch.float64)[dim // 2]
    squares = squared(one, lambda: RandomHadamard(dim, generator, block=16).transpose(torch.stack([one, other])))
    for name in ("power law", "two levels"):
        inverse = spectra(dim)[name]
        forms = np.log(squares @ inverse)
        expected = log_ratios(inverse, cosine, REFERENCE, np.random.default_rng(5))
        assert kstest(forms[:, 0] - forms[:, 1], expected).pvalue > LEVEL, name


@pytest.mark.parametrize("dim", [128, 159, 255, 1009, 4099, 50_021])
def test_every_coordinate_gets_the_same_share_of_every_other(dim):
    # Flat blocks average the squares of their coordinates. After all rounds the share of one coordinate in each is
    # 1/dim, up to what coordinates left out of a round do: at most 0.4 % over all dimensions from 128 to 1,100.
    shares = torch.zeros(1, dim, dtype=torch.float64)
    shares[0, 0] = 1.0
    averaging = torch.full((32, 32), 1 / 32, dtype=torch.float64)
    for step in RandomHadamard(dim, torch.Generator().manual_seed(0)).rounds:
        step.mix(shares, averaging)
    assert float((shares * dim - 1).abs().max()) < 0.004


def identity(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return vectors


def single_hadamard(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random signs and one Hadamard matrix, not permuted."""
    dim = vectors.shape[-1]
    signs = 2.0 * torch.randint(2, (dim,), generator=generator, dtype=torch.float64) - 1
    return (signs * vectors) @ torch.tensor(hadamard(dim) / np.sqrt(dim))


def one_round(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The operator itself, stopped after its first round."""
    rotation = RandomHadamard(vectors.shape[-1], generator, block=16)
    rotation.rounds = rotation.rounds[:1]
    return rotation.transpose(vectors)


def without_permutations(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Three sweeps of signs and one Hadamard matrix: dense enough, but each sweep undoes part of the last."""
    for _ in range(3):
        vectors = single_hadamard(vectors, generator)
    return vectors


def slightly_uneven(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A Haar draw after which the second half of the coordinates is 5 % longer and the first shorter."""
    turned = RandomEigenvectors(vectors.shape[-1], generator).transpose(vectors)
    half = vectors.shape[-1] // 2
    return torch.cat([turned[:, :half] * 0.95, turned[:, half:] * 1.05], dim=-1)


@pytest.mark.parametrize(
    ("bad", "spectrum", "difference"),
    [
        (identity, "power law", 0),
        (single_hadamard, "power law", 0),
        (single_hadamard, "first", 0),
        (one_round, "power law", 0),
        (without_permutations, "two levels", 2),
        (slightly_uneven, "power law", 4),
    ],
)
def test_the_comparison_detects_rotations_that_mix_too_little(bad, spectrum, difference):
    dim = 64
    vectors, generator = differences(dim), torch.Generator().manual_seed(9)
    squares = squared(vectors, lambda: bad(vectors, generator))
    inverse = spectra(dim)[spectrum]
    expected = squared_directions(dim, REFERENCE, np.random.default_rng(6)) @ inverse
    assert kstest(squares[:, difference] @ inverse, expected).pvalue < LEVEL
