import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkscope.curvature.lanczos import DENSE, Lanczos
from shrinkscope.errors import CurvatureError

SEARCH = Lanczos(tolerance=1e-8)


def with_spectrum(values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.as_tensor(values, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    return basis @ torch.diag(values) @ basis.T


def start_of(dimension):
    return torch.randn(dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def ends_of(matrix, search=SEARCH):
    dimension = len(matrix)
    return [
        search.extreme(lambda v: matrix @ v, dimension, end, start_of(dimension))
        for end in ("largest", "smallest", "largest magnitude")
    ]


@settings(max_examples=40)
@given(
    dimension=st.sampled_from([1, 2, 3, DENSE, DENSE + 1, 60]),
    low=st.floats(-10, 10),
    width=st.floats(0.01, 10),
    seed=st.integers(0, 2**20),
)
def test_both_ends_of_any_spectrum_are_found(dimension, low, width, seed):
    generator = torch.Generator().manual_seed(seed)
    values = low + width * torch.rand(dimension, generator=generator, dtype=torch.float64)
    norm = float(values.abs().max())
    largest, smallest, magnitude = ends_of(with_spectrum(values, seed))
    # An eigenvalue is at most a residual away; ten tolerances of the norm are what a residual may be, shift included.
    close = {"abs": 2e-7 * norm, "rel": 0}
    assert largest.value == pytest.approx(float(values.max()), **close)
    assert smallest.value == pytest.approx(float(values.min()), **close)
    assert abs(magnitude.value) == pytest.approx(norm, **close)


@pytest.mark.parametrize("dimension", [5, 80])
def test_the_residual_is_that_of_the_vector(dimension):
    matrix = with_spectrum(torch.linspace(-1, 3, dimension))
    for pair in ends_of(matrix):
        assert float(pair.vector.norm()) == pytest.approx(1, rel=1e-12)
        residual = float((matrix @ pair.vector - pair.value * pair.vector).norm())
        assert pair.residual == pytest.approx(residual, rel=1e-6, abs=1e-15)
        assert pair.residual <= 1e-7 * 3


@pytest.mark.parametrize(
    ("spectrum", "expected"),
    [
        ([0.0] * 50, (0, 0, 0)),
        ([0.0] * 49 + [2.0], (2, 0, 2)),
        ([0.0] * 49 + [-2.0], (0, -2, 2)),
        ([-1.0] * 25 + [1.0] * 25, (1, -1, 1)),
        ([3.0] * 50, (3, 3, 3)),
    ],
)
def test_degenerate_spectra_are_found(spectrum, expected):
    largest, smallest, magnitude = ends_of(with_spectrum(spectrum))
    # Rounding of the orthogonal basis and ten tolerances.
    assert [largest.value, smallest.value, abs(magnitude.value)] == pytest.approx(expected, abs=1e-6)


def test_products_are_counted():
    matrix, calls = with_spectrum(torch.linspace(0, 1, 100)), []
    pair = SEARCH.extreme(lambda v: calls.append(1) or matrix @ v, 100, "largest", start_of(100))
    assert pair.products == len(calls)


def test_a_search_that_does_not_converge_says_so():
    matrix = with_spectrum(torch.linspace(0.999, 1, 300))
    hasty = Lanczos(tolerance=1e-12, basis=3, restarts=1)
    with pytest.raises(
        CurvatureError, match=r"no eigenvalue converged to 1e-12 of its size in 1 restarts with 3 vectors"
    ):
        hasty.extreme(lambda v: matrix @ v, 300, "largest", start_of(300))


def test_products_that_do_not_repeat_are_noticed():
    matrix, generator = with_spectrum(torch.linspace(0, 1, 60)), torch.Generator().manual_seed(2)

    def noisy(vector):
        return matrix @ vector + 1e-3 * torch.randn(60, generator=generator, dtype=torch.float64)

    with pytest.raises(CurvatureError, match="products do not repeat so well; raise tolerance, or use float64"):
        Lanczos(tolerance=1e-6, restarts=10_000).extreme(noisy, 60, "largest", start_of(60))


def test_products_that_are_not_finite_are_refused():
    with pytest.raises(CurvatureError, match="a product with the curvature is not finite"):
        SEARCH.extreme(lambda v: v * torch.inf, 50, "largest", start_of(50))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance = 0.0; expected a fraction between 0 and 1"),
        ({"tolerance": 1.0}, "tolerance = 1.0"),
        ({"tolerance": 1e-4, "basis": 2}, "basis = 2; expected at least 3 vectors"),
        ({"tolerance": 1e-4, "restarts": 0}, "restarts = 0; expected at least 1"),
    ],
)
def test_impossible_searches_are_refused(options, message):
    with pytest.raises(CurvatureError, match=message):
        Lanczos(**options)


def test_bytes_count_the_basis_or_the_matrix():
    assert Lanczos(tolerance=0.1, basis=20).bytes(10**6) == 28 * 8 * 10**6
    assert Lanczos(tolerance=0.1).bytes(10) == 4 * 8 * 100
