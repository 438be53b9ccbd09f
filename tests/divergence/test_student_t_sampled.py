"""The sampled Student-t divergence against exact values; the scalar estimator against the vector one; noise.

Comparisons with an exact value allow five standard errors: each fails by chance with probability 6e-7 over the choice
of its seed, which is fixed.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from shrinkscope.divergence.student_t_sampled import sampled_student_t_kl, scalar_student_t_kl
from shrinkscope.errors import DivergenceError

# 40-digit series, shortened: (dim, df, delta) → nats.
EXACT = {
    (100, 4, 0.01): 4.90565709453391e-5,
    (100, 4, 1): 0.487319685981082,
    (100, 4, 5): 10.6392210730028,
    (3, 4, 2): 1.31620928299399,
    (2, 4, 2): 1.25718973951923,
    (1, 4, 2): 1.18499041877625,
    (10, 1, 0.5): 0.103808164041718,
    (20480, 4, 1): 0.499932889328644,
    (10**8, 4, 1): 0.499999986250001,
}


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vector(dim: int, length: float) -> torch.Tensor:
    direction = torch.randn(dim, generator=seeded(99), dtype=torch.float64)
    return length * direction / direction.norm()


@pytest.mark.parametrize("case", [case for case in EXACT if case[0] <= 100], ids=str)
def test_sampling_all_coordinates_agrees_with_the_exact_value(case):
    dim, df, delta = case
    estimate = sampled_student_t_kl(vector(dim, delta), df=df, samples=20_000, repeats=2, generator=seeded())
    assert estimate.standard_error is not None
    assert abs(estimate.value - EXACT[case]) < 5 * estimate.standard_error
    assert (estimate.unit, estimate.status) == ("nats", "estimate")


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_two_scalars_a_sample_agree_with_the_exact_value(case):
    dim, df, delta = case
    estimate = scalar_student_t_kl(delta, dim=dim, df=df, samples=100_000, repeats=2, generator=seeded())
    assert estimate.standard_error is not None
    assert abs(estimate.value - EXACT[case]) < 5 * estimate.standard_error


@pytest.mark.parametrize(("dim", "df", "delta"), [(1, 4, 2.0), (2, 1, 0.3), (7, 0.5, 3.0), (100, 4, 5.0)])
def test_both_estimators_have_the_same_law(dim, df, delta):
    # Means of two samples keep the shape of the law of one. Kolmogorov–Smirnov at 1e-6 for the fixed seeds.
    generator = seeded(3)
    one = [
        sampled_student_t_kl(vector(dim, delta), df=df, samples=2, repeats=1, generator=generator).value
        for _ in range(1500)
    ]
    two = [scalar_student_t_kl(delta, dim=dim, df=df, samples=2, generator=generator).value for _ in range(1500)]
    assert kstest(one, two).pvalue > 1e-6


def test_the_vector_estimator_is_the_mean_logarithm_of_the_density_ratio():
    # The definition, from the draws that the function makes: log p − log q of torch-free densities.
    dim, df, delta = 5, 3.0, vector(5, 1.5)
    estimate = sampled_student_t_kl(delta, df=df, samples=4000, repeats=1, generator=seeded(7))
    generator = seeded(7)
    normals = torch.randn(4000, dim, generator=generator, dtype=torch.float64)
    torch.set_rng_state(generator.get_state())
    chi = 2 * torch.distributions.Gamma(torch.tensor(df / 2, dtype=torch.float64), 1.0).sample(torch.Size((4000,)))
    points = (normals * (df / chi).sqrt().unsqueeze(-1)).numpy()

    def logarithm(shift: np.ndarray) -> np.ndarray:
        return -(df + dim) / 2 * np.log1p(((points + shift) ** 2).sum(1) / df)

    ratios = logarithm(np.zeros(dim)) - logarithm(delta.numpy())
    assert estimate.value == pytest.approx(ratios.mean(), rel=1e-12)
    assert estimate.standard_error == pytest.approx(ratios.std(ddof=1) / math.sqrt(4000), rel=1e-12)


def test_the_standard_error_covers_as_often_as_it_should():
    # As in test_monte_carlo.py: the number of 600 estimates within two standard errors is binomial, and leaves the
    # range with probability 1e-6.
    generator, inside = seeded(5), 0
    for _ in range(600):
        estimate = scalar_student_t_kl(1, dim=100, df=4, samples=1000, generator=generator)
        assert estimate.standard_error is not None
        inside += abs(estimate.value - EXACT[100, 4, 1]) < 2 * estimate.standard_error
    low, high = binom.ppf([5e-7, 1 - 5e-7], 600, math.erf(math.sqrt(2)))
    assert low <= inside <= high


def test_the_standard_error_at_the_papers_size_is_the_published_one():
    # At dim 100, df 4 it is 1.3e-5 for δ = 0.01 and 1.3e-3 for δ = 1, with 600,000 samples; two digits given.
    for delta, expected in ((0.01, 1.3e-5), (1, 1.3e-3)):
        estimate = scalar_student_t_kl(delta, dim=100, df=4, samples=600_000, generator=seeded())
        assert estimate.standard_error == pytest.approx(expected, rel=0.05)


def test_a_small_distance_is_flagged_as_noise_and_a_large_one_is_not():
    # At δ = 0.01 the value is 0.7 standard errors of 20,000 samples, so that an estimate is below three of them with
    # probability 0.99; the seed is fixed. At δ = 1 it is more than 60 of them.
    small, large = (
        sampled_student_t_kl(vector(100, delta), df=4, samples=20_000, repeats=1, generator=seeded())
        for delta in (0.01, 1.0)
    )
    assert small.unresolved
    assert not large.unresolved


def test_no_distance_is_exactly_zero():
    none = sampled_student_t_kl(vector(10, 0.0), df=4, samples=100, repeats=1, generator=seeded())
    assert (none.value, none.standard_error) == (0.0, 0.0)
    assert scalar_student_t_kl(0, dim=10, df=4, samples=100, generator=seeded()).value == 0.0


@given(chunk=st.integers(1, 600), repeats=st.integers(1, 3))
@settings(max_examples=15)
def test_every_chunk_estimates_the_same_value(chunk, repeats):
    # Another chunk makes other draws of the same law: 6 standard errors, 2e-9 a comparison.
    for estimate in (
        sampled_student_t_kl(vector(3, 2), df=4, samples=500, repeats=repeats, generator=seeded(), chunk=chunk),
        scalar_student_t_kl(2, dim=3, df=4, samples=500, repeats=repeats, generator=seeded(), chunk=chunk),
    ):
        assert estimate.standard_error is not None
        assert abs(estimate.value - EXACT[3, 4, 2]) < 6 * estimate.standard_error


def test_extreme_shapes_stay_finite():
    # Gamma draws of shape 0.005 underflow in one draw of a thousand or so; the ratio must not become 0/0.
    estimate = sampled_student_t_kl(vector(4, 1e-3), df=0.01, samples=20_000, repeats=1, generator=seeded())
    assert math.isfinite(estimate.value)
    assert math.isfinite(scalar_student_t_kl(1e-3, dim=4, df=0.01, samples=20_000, generator=seeded()).value)


def test_one_seed_gives_one_value():
    one, again, other = (
        sampled_student_t_kl(vector(10, 1.0), df=4, samples=50, repeats=2, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


MEMORY = """
import torch
from shrinkscope.divergence.student_t_sampled import sampled_student_t_kl
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
def run(samples):
    delta = torch.ones(1000, dtype=torch.float64)
    sampled_student_t_kl(delta, df=4, samples=samples, repeats=1, generator=torch.Generator())
run(2_000)
before = peak()
run(40_000)
print((peak() - before) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory from /proc")
def test_memory_does_not_grow_with_the_number_of_samples():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    # All normal numbers at once would be 305 MiB.
    assert float(done.stdout) < 20


@pytest.mark.parametrize("delta", [torch.ones(0), torch.tensor([1.0, math.nan]), torch.tensor([math.inf])])
def test_a_vector_that_is_empty_or_not_finite_is_refused(delta):
    with pytest.raises(DivergenceError, match="expected a finite vector"):
        sampled_student_t_kl(delta, df=4, samples=10, repeats=1, generator=seeded())


@pytest.mark.parametrize("df", [0, -1.0, math.nan, math.inf])
def test_degrees_of_freedom_out_of_range_are_refused(df):
    with pytest.raises(DivergenceError, match=f"df is {df}; expected a finite positive number"):
        sampled_student_t_kl(torch.ones(3), df=df, samples=10, repeats=1, generator=seeded())
    with pytest.raises(DivergenceError, match=f"df is {df}; expected a finite positive number"):
        scalar_student_t_kl(1.0, dim=3, df=df, samples=10, generator=seeded())


@pytest.mark.parametrize("delta", [-1.0, math.nan, math.inf])
def test_a_distance_out_of_range_is_refused(delta):
    with pytest.raises(DivergenceError, match=f"delta is {delta}; expected a finite distance"):
        scalar_student_t_kl(delta, dim=3, df=4, samples=10, generator=seeded())


@pytest.mark.parametrize("dim", [0, 2.5, math.nan, math.inf])
def test_a_dimension_out_of_range_is_refused(dim):
    with pytest.raises(DivergenceError, match=f"dim is {dim}; expected a whole number"):
        scalar_student_t_kl(1.0, dim=dim, df=4, samples=10, generator=seeded())
