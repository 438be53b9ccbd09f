"""Sampled divergences of torch's distributions: against closed forms, the coverage of the standard error, errors.

Comparisons with a closed form allow five standard errors: each fails by chance with probability 6e-7 over the choice of
its seed, which is fixed.
"""

import math
from collections.abc import Sequence

import pytest
import torch
from scipy.stats import binom
from torch.distributions import (
    Categorical,
    Distribution,
    Gamma,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    StudentT,
    Uniform,
    kl_divergence,
)

from references.student_t import by_double_integral
from shrinkscope.divergence.monte_carlo import monte_carlo_kl
from shrinkscope.errors import DivergenceError


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PAIRS = [
    (Normal(scalar(0.0), scalar(1.0)), Normal(scalar(0.3), scalar(2.0))),
    (Gamma(scalar(2.0), scalar(1.0)), Gamma(scalar(3.0), scalar(0.5))),
    (Laplace(scalar(0.0), scalar(1.0)), Laplace(scalar(1.0), scalar(1.5))),
    (Categorical(probs=t(0.2, 0.3, 0.5)), Categorical(probs=t(0.4, 0.4, 0.2))),
    (
        MultivariateNormal(t(0.0, 1.0), torch.eye(2, dtype=torch.float64)),
        LowRankMultivariateNormal(t(0.5, 0.5), t(1.0, 2.0).unsqueeze(-1), t(1.0, 1.0)),
    ),
    (Independent(Normal(t(0, 0, 0), t(1, 1, 1)), 1), Independent(Normal(t(1, 0, 0), t(1, 2, 3)), 1)),
]


@pytest.mark.parametrize(("p", "q"), PAIRS, ids=lambda d: type(d).__name__)
def test_agrees_with_the_closed_form(p, q):
    estimate = monte_carlo_kl(p, q, samples=40_000, generator=seeded(), chunk=3_000)
    assert estimate.standard_error is not None
    assert abs(estimate.value - float(kl_divergence(p, q))) < 5 * estimate.standard_error
    assert not estimate.unresolved


def test_agrees_with_the_double_integral_of_a_pair_that_torch_has_no_formula_for():
    p, q = (StudentT(scalar(4.0), scalar(location), scalar(1.0)) for location in (0.0, 2.0))
    estimate = monte_carlo_kl(p, q, samples=40_000, generator=seeded())
    assert estimate.standard_error is not None
    assert abs(estimate.value - float(by_double_integral(1, 4, 2))) < 5 * estimate.standard_error


def test_the_standard_error_covers_as_often_as_it_should():
    # 600 independent estimates of 400 samples each, near enough to normal: 95.4 % lie within two standard errors. The
    # number that do is binomial; its range below is left with probability 1e-6.
    p, q = PAIRS[0]
    truth, generator = float(kl_divergence(p, q)), seeded(2)
    inside = 0
    for _ in range(600):
        estimate = monte_carlo_kl(p, q, samples=200, repeats=2, generator=generator)
        assert estimate.standard_error is not None
        inside += abs(estimate.value - truth) < 2 * estimate.standard_error
    expected = math.erf(math.sqrt(2))
    low, high = binom.ppf([5e-7, 1 - 5e-7], 600, expected)
    assert low <= inside <= high


def test_the_draws_are_the_generators_and_the_global_ones_are_left_alone():
    p, q = PAIRS[1]
    torch.manual_seed(8)
    before = torch.get_rng_state()
    generator = seeded(4)
    first, second = (monte_carlo_kl(p, q, samples=100, generator=generator) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first != second
    assert first == monte_carlo_kl(p, q, samples=100, generator=seeded(4))
    torch.manual_seed(4)
    points = p.sample(torch.Size((100,)))
    assert first.value == pytest.approx(float((p.log_prob(points) - q.log_prob(points)).mean()), rel=1e-13)


class Tabulated(Distribution):
    """The next entries of a table as samples, whatever the generator says; standard normal density."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__(validate_args=False)
        self.values, self.position, self.largest = values, 0, 0

    def sample(self, sample_shape: Sequence[int] = (1,)) -> torch.Tensor:
        self.position += sample_shape[0]
        self.largest = max(self.largest, sample_shape[0])
        return self.values[self.position - sample_shape[0] : self.position]

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return -0.5 * value.square() - 0.5 * math.log(2 * math.pi)


@pytest.mark.parametrize("chunk", [1, 7, 999, 1000, 5000])
def test_the_same_draws_give_the_same_estimate_in_any_chunks(chunk):
    p = Tabulated(torch.randn(1000, generator=seeded(), dtype=torch.float64))
    q = Normal(scalar(1.0), scalar(1.0))
    estimate = monte_carlo_kl(p, q, samples=500, repeats=2, generator=seeded(), chunk=chunk)
    ratios = 0.5 - p.values  # log p(x) − log q(x) at x
    assert estimate.value == pytest.approx(float(ratios.mean()), rel=1e-12)
    assert estimate.standard_error == pytest.approx(float(ratios.std()) / math.sqrt(1000), rel=1e-12)
    assert p.largest == min(chunk, 1000)


def test_a_distribution_against_itself_is_exactly_zero():
    p, _ = PAIRS[0]
    estimate = monte_carlo_kl(p, p, samples=100, generator=seeded())
    assert (estimate.value, estimate.standard_error) == (0.0, 0.0)


def test_a_batch_of_distributions_is_refused():
    p = Normal(t(0.0, 0.0), t(1.0, 1.0))
    with pytest.raises(DivergenceError, match=r"p is a batch of Normal of shape \(2,\)"):
        monte_carlo_kl(p, p, samples=10, generator=seeded())


def test_different_event_shapes_are_refused():
    p, q = (Independent(Normal(torch.zeros(n), torch.ones(n)), 1) for n in (2, 3))
    with pytest.raises(DivergenceError, match=r"p has samples of shape \(2,\), q of shape \(3,\)"):
        monte_carlo_kl(p, q, samples=10, generator=seeded())


@pytest.mark.parametrize("validated", [True, False, None], ids=["checked by torch", "unchecked", "by default"])
def test_samples_outside_the_support_of_q_are_refused(validated):
    # torch.compile turns torch's own checks off in the whole process, so the refusal must not rest on them.
    p, q = Uniform(scalar(0.0), scalar(1.0)), Uniform(scalar(0.0), scalar(0.5), validate_args=validated)
    with pytest.raises(DivergenceError, match=r"samples of p lie outside the support of q \(Uniform\)"):
        monte_carlo_kl(p, q, samples=100, generator=seeded())


def test_a_density_of_zero_is_refused():
    p = Categorical(probs=t(0.5, 0.5))
    q = Categorical(logits=t(0.0, -math.inf), validate_args=False)
    with pytest.raises(DivergenceError, match="q has no density where p has some"):
        monte_carlo_kl(p, q, samples=100, generator=seeded())


def test_samples_on_another_device_are_refused():
    p = Tabulated(torch.zeros(10, device="meta"))
    with pytest.raises(DivergenceError, match="p has its samples on meta"):
        monte_carlo_kl(p, p, samples=10, generator=seeded())


def test_a_single_sample_is_refused():
    p, q = PAIRS[0]
    with pytest.raises(DivergenceError, match="samples 1, repeats 1; expected at least two samples"):
        monte_carlo_kl(p, q, samples=1, generator=seeded())
