"""Corollary 3.4: zero in print when layer l is untouched, whatever layer l + 1 did; the corrected form holds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import Covariance, Dense
from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_3_4
from shrinkscope.theory.constants import inverse_extremes
from shrinkscope.theory.through_layers import GaussianLayer, LayerNorms


def gaussian_layer(dense: torch.Tensor, compressed: torch.Tensor, covariance: Covariance) -> GaussianLayer:
    low, high = inverse_extremes(covariance)
    norms = LayerNorms(dense=float(dense.norm()), compressed=float(compressed.norm()))
    return GaussianLayer(norms=norms, inverse_min=low, inverse_max=high)


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 5), after_dim=st.integers(1, 5), size=st.floats(1e-2, 1e2))
@settings(max_examples=400)
def test_the_corrected_and_the_sharpened_form_hold(seed, dim, after_dim, size):
    rng = generator(seed)
    covariances = [Dense(positive_definite(dim, rng)), Dense(positive_definite(after_dim, rng))]
    weights = [size * normal(dim, rng=rng) for _ in range(2)]
    after = [normal(after_dim, rng=rng) for _ in range(2)]
    epsilon = float(gaussian_kl(weights[0] - weights[1], covariances[0]))
    measured = float(gaussian_kl(after[0] - after[1], covariances[1]))
    layer, following = gaussian_layer(*weights, covariances[0]), gaussian_layer(*after, covariances[1])
    corrected = corollary_3_4.corrected(epsilon=epsilon, layer=layer, following=following)
    sharpened = corollary_3_4.sharpened(following=following)
    assert not corrected.violated(measured, tolerance=1e-12 * measured)
    assert not sharpened.violated(measured, tolerance=1e-12 * measured)
    assert sharpened.value <= corrected.value * (1 + 1e-12)


def test_the_printed_form_is_violated():
    # Only layer l + 1 is compressed: ε = 0 makes the printed product 0, and the divergence of layer l + 1 is 2 nats.
    layer = GaussianLayer(norms=LayerNorms(dense=1.0, compressed=1.0), inverse_min=1.0, inverse_max=1.0)
    following = GaussianLayer(norms=LayerNorms(dense=2.0, compressed=0.0), inverse_min=1.0, inverse_max=1.0)
    published = corollary_3_4.as_published(epsilon=0.0, layer=layer, following=following)
    assert published.value == 0.0
    assert published.violated(2.0)
    assert corollary_3_4.sharpened(following=following).value == 2.0  # attained
    assert not corollary_3_4.corrected(epsilon=0.0, layer=layer, following=following).violated(2.0)


def test_eq_40_has_a_length_where_a_square_belongs():
    # ‖Δ‖ = 2 and Σ = 1: √(2ε/λ_min) = 2 bounds the length, not the square 4.
    epsilon = 2.0
    assert math.sqrt(2 * epsilon / 1.0) < 2.0**2 == 2 * epsilon / 1.0


@pytest.mark.parametrize("form", [corollary_3_4.as_published, corollary_3_4.corrected])
@pytest.mark.parametrize("epsilon", [-1.0, math.nan])
def test_nonsense_is_refused(form, epsilon):
    layer = GaussianLayer(norms=LayerNorms(dense=1.0, compressed=1.0), inverse_min=1.0, inverse_max=1.0)
    with pytest.raises(TheoryError, match="ε, the divergence of layer l is"):
        form(epsilon=epsilon, layer=layer, following=layer)


def test_an_infinite_divergence_of_an_untouched_layer_is_no_number_out_of_nothing():
    still = GaussianLayer(norms=LayerNorms(dense=0.0, compressed=0.0), inverse_min=1.0, inverse_max=1.0)
    assert corollary_3_4.as_published(epsilon=math.inf, layer=still, following=still).value == 0.0
    assert corollary_3_4.corrected(epsilon=math.inf, layer=still, following=still).value == math.inf
