"""Lemma 3.3: a pair of layers that violates the printed form, and laws of finite volume on which the others hold."""

import math

import pytest
import torch

from references import tilted
from references.covariances import between, generator
from shrinkscope.errors import TheoryError
from shrinkscope.theory import lemma_3_3
from shrinkscope.theory.through_layers import BoundedLayer, LayerNorms


def tilted_layer(dense: torch.Tensor, compressed: torch.Tensor) -> BoundedLayer:
    return BoundedLayer(
        norms=LayerNorms(dense=float(dense.norm()), compressed=float(compressed.norm())),
        trace_p=tilted.total_variance(dense),
        trace_q=tilted.total_variance(compressed),
        lipschitz=tilted.lipschitz(len(dense)),
        volume=2.0 ** len(dense),
        inverse_density=tilted.inverse_density(compressed),
    )


def random_weight(dim: int, rng: torch.Generator) -> torch.Tensor:
    return between(-0.3 / dim, 0.3 / dim, dim, rng=rng)  # 1 + 3ω·z stays above 0.1


@pytest.mark.parametrize(("dim", "following_dim"), [(1, 1), (1, 2), (2, 1)])
def test_the_corrected_and_the_sharpened_form_hold(dim, following_dim):
    rng = generator(dim + 10 * following_dim)
    for _ in range(300):
        weights = [random_weight(dim, rng) for _ in range(2)]
        after = [random_weight(following_dim, rng) for _ in range(2)]
        layer, following = tilted_layer(*weights), tilted_layer(*after)
        epsilon, measured = max(tilted.divergence(*weights), 0.0), tilted.divergence(*after)
        corrected = lemma_3_3.corrected(epsilon=epsilon, layer=layer, following=following)
        sharpened = lemma_3_3.sharpened(following=following)
        assert not corrected.violated(measured, tolerance=1e-12)
        assert not sharpened.violated(measured, tolerance=1e-12)
        assert sharpened.value <= corrected.value
        assert sharpened.assumptions[0].holds


def two_valued(height: float) -> tuple[BoundedLayer, BoundedLayer, float]:
    """Layer l is untouched. In layer l + 1 the density on the lower half of [0, 1] goes from almost 0 to h.

    P_ω(z) = h/2 + ω on the lower half and 2 − h/2 − ω on the upper, with ω = −h(1 − 2·10⁻⁹)/2 and ω̃ = h/2: Lipschitz
    in ω with constant 1, and Lemma 3.3 asks no more of them.
    """
    weight, compressed = -height * (1 - 2e-9) / 2, height / 2
    low_p, low_q = height / 2 + weight, height / 2 + compressed
    high_p, high_q = 2 - low_p, 2 - low_q
    measured = (low_p * math.log(low_p / low_q) + high_p * math.log(high_p / high_q)) / 2
    common = {"trace_p": 1.0, "trace_q": 1.0, "lipschitz": 1.0, "volume": 1.0}
    zero = LayerNorms(dense=0.0, compressed=0.0)
    untouched = BoundedLayer(norms=zero, inverse_density=1.0, **common)
    norms = LayerNorms(dense=-weight, compressed=compressed)
    return untouched, BoundedLayer(norms=norms, inverse_density=(1 / low_q + 1 / high_q) / 2, **common), measured


@pytest.mark.parametrize("height", [0.01, 0.2])
def test_the_printed_form_is_violated(height):
    layer, following, measured = two_valued(height)
    published = lemma_3_3.as_published(epsilon=0.0, layer=layer, following=following)
    assert published.assumptions[0].holds
    assert published.violated(measured)  # 0.2: 0.105 nats, and 0.056 allowed
    assert not lemma_3_3.corrected(epsilon=0.0, layer=layer, following=following).violated(measured)
    assert not lemma_3_3.sharpened(following=following).violated(measured)


def test_eq_34_has_the_lipschitz_inequality_the_wrong_way_round():
    # √(2ε)/(C·Vol) would bound ‖Δ‖ if |P_ω − P_ω̃| were at least C‖Δ‖ everywhere. It is at most that.
    first, second = (torch.tensor([w], dtype=torch.float64) for w in (0.3, -0.3))
    epsilon = tilted.divergence(first, second)
    points, weights = tilted.grid(1)
    distance = float((weights * (tilted.density(first, points) - tilted.density(second, points)).abs()).sum())
    assert distance <= math.sqrt(2 * epsilon)  # Eq. (27), which is right
    length = 0.6
    assert math.sqrt(2 * epsilon) / (tilted.lipschitz(1) * 2) < length


def test_infinite_volume_leaves_nothing():
    norms = LayerNorms(dense=1.0, compressed=1.0)
    gaussian = BoundedLayer(
        norms=norms, trace_p=1.0, trace_q=1.0, lipschitz=0.24, volume=math.inf, inverse_density=math.inf
    )
    published = lemma_3_3.as_published(epsilon=0.1, layer=gaussian, following=gaussian)
    assert published.value == lemma_3_3.corrected(epsilon=0.1, layer=gaussian, following=gaussian).value == math.inf
    assert lemma_3_3.sharpened(following=gaussian).value == math.inf
    assert published.assumptions_hold is False


def test_nonsense_is_refused():
    layer, following, _ = two_valued(0.2)
    with pytest.raises(TheoryError, match="ε, the divergence of layer l is -1.0"):
        lemma_3_3.as_published(epsilon=-1.0, layer=layer, following=following)
    with pytest.raises(TheoryError, match="ε, the divergence .* is nan"):
        lemma_3_3.corrected(epsilon=math.nan, layer=layer, following=following)
