"""General Student-t divergences against direct integration, the closed form for equal locations, and sampling."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import between, generator, normal, positive_definite
from references.student_t_general import axisymmetric, in_one_dimension, series
from shrinkscope.divergence import gaussian_kl, general_student_t_kl, student_t_kl
from shrinkscope.divergence.covariance import Covariance, Dense, Diagonal, Isotropic, Kronecker, LowRankPlusDiagonal
from shrinkscope.divergence.student_t_general import TOLERANCE
from shrinkscope.errors import DivergenceError

INF = math.inf
seeds = st.integers(0, 2**31)
tails = st.floats(-0.5, 3).map(lambda exponent: 10.0**exponent)


def value(delta: torch.Tensor, p: Covariance, q: Covariance | None, df_p: float, df_q: float | None = None) -> float:
    return float(general_student_t_kl(delta, p, q, df_p=df_p, df_q=df_q))


def unit(dim: int, length: float) -> torch.Tensor:
    vector = torch.zeros(dim, dtype=torch.float64)
    vector[0] = length
    return vector


@pytest.mark.parametrize(
    ("shift", "scale", "df_p", "df_q"),
    [
        (0.7, 1.3, 3, 5),
        (2.0, 0.5, 0.5, 4),
        (-1.0, 1.0, 2, 2),
        (1.0, 1.0, INF, 4),
        (1.0, 2.0, 5, INF),
        (0.0, 0.01, 1, 2),
        (0.3, 0.8, INF, INF),
    ],
)
def test_one_dimension_agrees_with_the_definition(shift, scale, df_p, df_q):
    got = value(unit(1, shift), Isotropic(1, scale**2), Isotropic(1), df_p, df_q)
    assert got == pytest.approx(in_one_dimension(shift, scale, df_p, df_q), rel=1e-12)


@pytest.mark.parametrize(
    ("dim", "shift", "along", "across", "df_p", "df_q"),
    [
        (2, 1.0, 2.0, 0.5, 4, 7),
        (3, 0.3, 1.0, 1.0, 1, 3),
        (3, 1.0, 2.0, 0.5, INF, 4),
        (3, 1.0, 2.0, 0.5, 6, INF),
        (10, 2.0, 0.3, 1.7, 5, 2),
        (50, 3.0, 4.0, 1.1, 4, 4),
        (200, 5.0, 10.0, 0.8, 3, 8),
    ],
)
def test_shifted_and_scaled_agrees_with_the_definition(dim, shift, along, across, df_p, df_q):
    scales = torch.full((dim,), across, dtype=torch.float64)
    scales[0] = along
    got = value(unit(dim, shift), Diagonal(scales), Isotropic(dim), df_p, df_q)
    # The reference subtracts logarithms of size dim·log: 1e-11 is its own accuracy.
    assert got == pytest.approx(axisymmetric(dim, shift, along, across, df_p, df_q), rel=1e-11)


@pytest.mark.parametrize(
    ("eigenvalues", "counts", "df_p", "df_q"),
    [
        ([0.5, 2.0], [1, 1], 4, 4),
        ([0.5, 1.0, 3.0], [1, 1, 1], 1, 1),
        ([0.9, 1.1], [5, 5], 3, 7),
        ([0.2, 1.5], [1, 99], 30, 4),
        ([1 - 1e-6, 1 + 2e-6], [2, 3], 4, 4),
        ([1 + 1e-10, 1 - 1e-10, 1.0], [1, 1, 1], 0.5, 0.5),
        ([0.5, 1.0, 2.0], [3000, 4000, 3000], 4, 5),
        ([1.0, 1.001], [5000, 5000], 4, 4),
    ],
)
def test_equal_locations_agree_with_the_published_closed_form(eigenvalues, counts, df_p, df_q):
    dim = sum(counts)
    scales = torch.cat([torch.full((n,), x, dtype=torch.float64) for x, n in zip(eigenvalues, counts, strict=True)])
    got = value(torch.zeros(dim), Diagonal(scales), Isotropic(dim), df_p, df_q)
    # Sums of up to 10⁴ terms; well inside the promised 1e-8, also where the divergence is 1e-20.
    assert got == pytest.approx(series(eigenvalues, counts, df_p, df_q, digits=50), rel=1e-11, abs=0)


# The table of math.md §2, computed with 40 digits by a series.
SHARED = [
    (100, 4, 0.01, 4.90565709453391e-5),
    (100, 4, 1, 0.487319685981082),
    (100, 4, 5, 10.6392210730028),
    (3, 4, 2, 1.31620928299399),
    (2, 4, 2, 1.25718973951923),
    (1, 4, 2, 1.18499041877625),
    (10, 1, 0.5, 0.103808164041718),
    (20480, 4, 1, 0.499932889328644),
]


@pytest.mark.parametrize(("dim", "df", "shift", "expected"), SHARED)
def test_shared_scales_agree_with_the_reference_values(dim, df, shift, expected):
    # The references have 15 digits.
    assert value(unit(dim, shift), Isotropic(dim), None, df) == pytest.approx(expected, rel=2e-14)
    assert value(unit(dim, shift), Isotropic(dim), Diagonal(torch.ones(dim)), df) == pytest.approx(expected, rel=2e-14)


@pytest.mark.parametrize("shift", [1e-8, 1e-3, 1.0, 30.0, 1e6])
def test_shared_scales_agree_with_the_function_for_them(shift):
    dense = Dense(positive_definite(30, generator(1)))
    delta = dense.root(unit(30, shift))
    expected = float(student_t_kl(shift, dim=30, df=3.0))
    assert value(delta, dense, None, 3.0) == pytest.approx(expected, rel=1e-12)


def log_density(x: torch.Tensor, covariance: Covariance, df: float) -> torch.Tensor:
    square, dim = covariance.quadratic(x), covariance.dim
    if math.isinf(df):
        return -(square + covariance.logdet() + dim * math.log(2 * math.pi)) / 2
    constant = math.lgamma((df + dim) / 2) - math.lgamma(df / 2) - dim / 2 * math.log(df * math.pi)
    return constant - covariance.logdet() / 2 - (df + dim) / 2 * (square / df).log1p()


@pytest.mark.parametrize(("df_p", "df_q"), [(4, 4), (4, 7), (0.5, 3), (1, 30), (INF, 5), (5, INF)])
@pytest.mark.parametrize("kind", ["low rank", "dense", "kronecker"])
def test_it_agrees_with_sampling(kind, df_p, df_q):
    rng = generator(11)
    make = {
        "low rank": lambda: LowRankPlusDiagonal(between(0.3, 2.0, 40, rng=rng), normal(40, 3, rng=rng)),
        "dense": lambda: Dense(positive_definite(40, rng)),
        "kronecker": lambda: Kronecker(positive_definite(8, rng), positive_definite(5, rng)),
    }[kind]
    p, q, delta, n = make(), make(), normal(40, rng=rng), 40_000
    x = p.root(normal(n, 40, rng=rng))
    if math.isfinite(df_p):
        precisions = np.random.default_rng(12).gamma(df_p / 2, 2 / df_p, size=(n, 1))
        x = x / torch.from_numpy(precisions).sqrt()
    ratios = log_density(x, p, df_p) - log_density(x + delta, q, df_q)
    # 18 tests at 4.5 standard errors: all pass by chance with probability 1 − 1.2e-4, once for the fixed seed.
    error = float(ratios.std()) / math.sqrt(n)
    assert abs(float(ratios.mean()) - value(delta, p, q, df_p, df_q)) < 4.5 * error


@pytest.mark.parametrize(("df_p", "df_q"), [(4, 4), (0.7, 20), (INF, 3), (5, INF)])
def test_every_structure_agrees_with_its_dense_matrix(df_p, df_q):
    rng = generator(12)
    variances = between(0.3, 2.0, 12, rng=rng)
    structures = [
        Isotropic(12, 0.8),
        Diagonal(variances),
        LowRankPlusDiagonal(between(0.3, 2.0, 12, rng=rng), normal(12, 2, rng=rng)),
        LowRankPlusDiagonal(2 * variances, normal(12, 2, rng=rng)),
        Kronecker(positive_definite(4, rng), positive_definite(3, rng)),
    ]
    delta = normal(12, rng=rng)
    for p, q in itertools.product(structures, structures):
        expected = value(delta, Dense(p.dense()), Dense(q.dense()), df_p, df_q)
        assert value(delta, p, q, df_p, df_q) == pytest.approx(expected, rel=1e-11, abs=1e-24)


def test_ten_thousand_dimensions_of_low_rank_agree_with_a_rotation_of_diagonal_ones():
    # Σp = I + 3uu', Σq = I + 8vv' with u, v orthonormal: in the basis (u, v, …) both are diagonal.
    dim, rng = 10_000, generator(13)
    basis = torch.linalg.qr(normal(dim, 3, rng=rng)).Q
    ones, coordinates = torch.ones(dim, dtype=torch.float64), torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64)
    p = LowRankPlusDiagonal(ones, math.sqrt(3) * basis[:, :1])
    q = LowRankPlusDiagonal(ones, math.sqrt(8) * basis[:, 1:2])
    vp, vq, delta = ones.clone(), ones.clone(), torch.zeros_like(ones)
    vp[0], vq[1], delta[:3] = 4.0, 9.0, coordinates
    expected = value(delta, Diagonal(vp), Diagonal(vq), 4, 6)
    assert value(basis @ coordinates, p, q, 4, 6) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("df_p", "df_q"), [(4, 4), (0.5, 3), (INF, 4), (5, INF)])
@pytest.mark.parametrize("strength", [1e3, 1e6])
@pytest.mark.parametrize("dim", [3, 300])
def test_a_strong_direction_of_either_scale_keeps_its_digits(dim, strength, df_p, df_q):
    direction = torch.linalg.qr(normal(dim, 1, rng=generator(14))).Q
    strong = LowRankPlusDiagonal(torch.ones(dim, dtype=torch.float64), math.sqrt(strength) * direction)
    scales = torch.ones(dim, dtype=torch.float64)
    scales[0] = 1 + strength
    for p, q, length in ((strong, Isotropic(dim), 2.0), (Isotropic(dim), strong, 2.0 * math.sqrt(1 + strength))):
        turned = [Diagonal(scales) if c is strong else c for c in (p, q)]
        expected = value(unit(dim, length), turned[0], turned[1], df_p, df_q)
        # stated for low-rank parts: ε√κ, times a small constant
        tolerance = 50 * 1.1e-16 * math.sqrt(strength)
        assert value(length * direction[:, 0], p, q, df_p, df_q) == pytest.approx(expected, rel=tolerance)


@settings(max_examples=40)
@given(seeds, tails, tails)
def test_it_is_never_negative_and_zero_only_for_equal_distributions(seed, df_p, df_q):
    rng = generator(seed)
    p, q = Dense(positive_definite(3, rng)), Dense(positive_definite(3, rng))
    delta = normal(3, rng=rng)
    assert value(0 * delta, p, p, df_p, df_p) == 0.0
    assert value(delta, p, p, df_p, df_p) > 0.0
    assert value(delta, p, q, df_p, df_q) > 0.0
    assert value(0 * delta, p, q, df_p, df_p) > 0.0


@settings(max_examples=40)
@given(seeds, tails, tails)
def test_invertible_affine_maps_change_nothing(seed, df_p, df_q):
    rng = generator(seed)
    p, q, delta = positive_definite(4, rng), positive_definite(4, rng), normal(4, rng=rng)
    turn = positive_definite(4, rng) @ torch.linalg.qr(normal(4, 4, rng=rng)).Q
    moved = value(turn @ delta, Dense(turn @ p @ turn.mT), Dense(turn @ q @ turn.mT), df_p, df_q)
    # Condition numbers below 15³ after the map: 100·ε·3375 = 4e-11.
    assert moved == pytest.approx(value(delta, Dense(p), Dense(q), df_p, df_q), rel=1e-10)


@settings(max_examples=25)
@given(seeds, tails, tails)
def test_forgetting_coordinates_never_increases_it(seed, df_p, df_q):
    # Data processing: the first two coordinates of t_ν(μ, Σ) are t_ν of their block.
    rng = generator(seed)
    p, q, delta = positive_definite(4, rng), positive_definite(4, rng), normal(4, rng=rng)
    whole = value(delta, Dense(p), Dense(q), df_p, df_q)
    assert value(delta[:2], Dense(p[:2, :2]), Dense(q[:2, :2]), df_p, df_q) <= whole * (1 + 1e-9)


@pytest.mark.parametrize(("df_p", "df_q"), [(INF, INF), (1e12, 1e12), (1e12, INF), (INF, 1e12)])
def test_with_many_degrees_of_freedom_it_is_gaussian(df_p, df_q):
    rng = generator(14)
    p, q, delta = Diagonal(between(0.3, 2.0, 7, rng=rng)), Diagonal(between(0.3, 2.0, 7, rng=rng)), normal(7, rng=rng)
    # The difference is of order E Q²/df with E Q² of a few hundred.
    assert value(delta, p, q, df_p, df_q) == pytest.approx(float(gaussian_kl(delta, p, q)), rel=1e-9)


@pytest.mark.parametrize("df", [0.5, 1.0, 2.0])
def test_a_gaussian_is_infinitely_far_from_tails_without_variance(df):
    got = general_student_t_kl(torch.zeros(2, 3), Isotropic(3), df_p=df, df_q=INF)
    assert got.tolist() == [INF, INF]


def test_it_grows_without_bound_as_the_variance_does():
    near = [value(torch.zeros(3), Isotropic(3), None, 2 + gap, INF) for gap in (1e-2, 1e-4, 1e-6)]
    # E Q/2 = d/2·df/(df − 2) dominates
    assert near[0] < near[1] < near[2] == pytest.approx(1.5 * 2e6, rel=1e-5)


def test_it_is_differentiable_in_the_difference():
    rng = generator(15)
    p, q = Dense(positive_definite(4, rng)), Dense(positive_definite(4, rng))
    low_p, low_q = (LowRankPlusDiagonal(between(0.3, 2.0, 4, rng=rng), normal(4, 1, rng=rng)) for _ in range(2))
    delta = normal(2, 4, rng=rng).requires_grad_()
    for first, second, df_p, df_q in ((p, q, 4, 7), (low_p, low_q, 3, 3), (p, q, INF, 4), (p, q, 5, INF)):
        assert torch.autograd.gradcheck(
            lambda x, a=first, b=second, n=df_p, k=df_q: general_student_t_kl(x, a, b, df_p=n, df_q=k), (delta,)
        )


def test_batches_of_any_shape():
    p, q = Diagonal(torch.tensor([1.0, 2.0, 3.0])), Diagonal(torch.tensor([2.0, 2.0, 1.0]))
    delta = normal(2, 5, 3, rng=generator(16))
    got = general_student_t_kl(delta, p, q, df_p=4, df_q=5)
    assert got.shape == (2, 5)
    assert float(got[1, 3]) == pytest.approx(value(delta[1, 3], p, q, 4, 5), rel=1e-12)
    assert general_student_t_kl(torch.zeros(0, 3), p, q, df_p=4).shape == (0,)


@pytest.mark.parametrize("df", [0.0, -1.0, math.nan])
def test_degrees_of_freedom_must_be_positive(df):
    with pytest.raises(DivergenceError, match=f"df_p is {df}; expected positive degrees of freedom"):
        general_student_t_kl(torch.zeros(2), Isotropic(2), df_p=df, df_q=1.0)
    with pytest.raises(DivergenceError, match=f"df_q is {df}; expected positive degrees of freedom"):
        general_student_t_kl(torch.zeros(2), Isotropic(2), df_p=1.0, df_q=df)


def test_other_dimensions_are_refused():
    with pytest.raises(DivergenceError, match="does not fit a covariance of dimension 2"):
        general_student_t_kl(torch.zeros(3), Isotropic(2), df_p=4)
    with pytest.raises(DivergenceError, match="dimensions 2 and 3; expected equal dimensions"):
        general_student_t_kl(torch.zeros(2), Isotropic(2), Isotropic(3), df_p=4)


def test_digits_that_double_precision_does_not_have_are_not_returned():
    assert TOLERANCE == 1e-8
    with pytest.raises(DivergenceError, match="divergence 6.7.e-36 of difference 0 is uncertain by .* cancel too much"):
        general_student_t_kl(torch.zeros(3), Isotropic(3), df_p=1e9, df_q=1e9 + 1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e200])
def test_means_that_are_not_finite_are_refused(wrong):
    delta = torch.tensor([[0.0, 0.0], [wrong, 0.0]], dtype=torch.float64)
    with pytest.raises(
        DivergenceError, match="1 of 2 differences of means have entries that are not finite or overflow"
    ):
        general_student_t_kl(delta, Isotropic(2), df_p=4)
    with pytest.raises(
        DivergenceError, match="1 of 2 differences of means have entries that are not finite or overflow"
    ):
        gaussian_kl(delta, Isotropic(2))
