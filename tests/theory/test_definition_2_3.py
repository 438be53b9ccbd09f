"""Pinsker's inequality and the total variation: right in print, in nats; and a sharper one for distant laws."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from references.covariances import generator
from shrinkscope.divergence import MultivariateGaussian, total_variation
from shrinkscope.divergence.covariance import Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.theory import definition_2_3


def discrete(seed: int, count: int, outcomes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pairs of laws on a few outcomes, from nearly equal to nearly disjoint."""
    rng = generator(seed)
    power = 10 ** (2 * torch.rand(count, 1, generator=rng, dtype=torch.float64) - 1)
    first = torch.rand(count, outcomes, generator=rng, dtype=torch.float64) ** power
    second = torch.rand(count, outcomes, generator=rng, dtype=torch.float64) ** power
    share = torch.rand(count, 1, generator=rng, dtype=torch.float64) ** 3
    second = share * second + (1 - share) * first
    return first / first.sum(-1, keepdim=True), second / second.sum(-1, keepdim=True)


@pytest.mark.parametrize("outcomes", [2, 3, 10])
def test_every_form_holds_on_thousands_of_pairs(outcomes):
    first, second = discrete(outcomes, 2000, outcomes)
    divergences = (first * (first / second).log()).sum(-1).tolist()
    distances = ((first - second).abs().sum(-1) / 2).clamp(max=1.0).tolist()
    for kl, tv in zip(divergences, distances, strict=True):
        for form in (definition_2_3.as_published, definition_2_3.corrected, definition_2_3.sharpened):
            assert not form(tv).violated(kl, tolerance=1e-12)
        assert tv <= definition_2_3.total_variation_from(max(kl, 0.0)) + 1e-7  # √ of a rounding of 1e-15


@given(tv=st.floats(0, 1))
@example(tv=0.99)
@settings(max_examples=200)
def test_the_sharpened_form_is_never_below_the_printed_one(tv):
    published, sharpened = definition_2_3.as_published(tv), definition_2_3.sharpened(tv)
    assert published.value == definition_2_3.corrected(tv).value <= sharpened.value
    if 1e-6 < tv < 1 - 1e-9:  # the two inverses agree where neither square root loses its digits
        assert definition_2_3.total_variation_from(sharpened.value) == pytest.approx(tv, rel=1e-6)


def test_pinsker_stops_at_two_nats_and_the_sharpened_form_does_not():
    assert definition_2_3.as_published(1.0).value == 2.0
    assert definition_2_3.sharpened(1.0).value == math.inf
    assert definition_2_3.total_variation_from(50.0) <= 1.0


def test_the_base_of_the_logarithm_matters_upwards_only():
    # p and q on two outcomes, nearly equal: Pinsker is tight: decimal logarithms break it, binary ones do not.
    p, q = 0.5, 0.501
    nats = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    printed = definition_2_3.as_published(abs(p - q))
    assert not printed.violated(nats, tolerance=1e-18)
    assert not printed.violated(nats / math.log(2))
    assert printed.violated(nats / math.log(10))


@pytest.mark.parametrize("distance", [0.1, 2.0, 10.0])
def test_definition_2_4_holds_on_an_infinite_domain(distance):
    # Half the L1 distance is the largest difference of probabilities, that of a half-line, on all of R.
    shift = torch.tensor([distance], dtype=torch.float64)
    p, q = MultivariateGaussian(shift, Isotropic(1)), MultivariateGaussian(0 * shift, Isotropic(1))
    event = norm.cdf(distance / 2) - norm.cdf(-distance / 2)
    assert total_variation(p, q).value == pytest.approx(event, rel=1e-12)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_nonsense_is_refused(value):
    for form in (definition_2_3.as_published, definition_2_3.corrected, definition_2_3.sharpened):
        with pytest.raises(TheoryError, match="the total variation is .*; expected a number from 0 to 1"):
            form(value)
    with pytest.raises(TheoryError, match="KL.* is -1.0"):
        definition_2_3.total_variation_from(-1.0)
