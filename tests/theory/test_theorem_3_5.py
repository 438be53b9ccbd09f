"""Theorem 3.5: the chain in print fails, the corrected chain holds, and the norms alone always say more than it."""

import math

import pytest
import torch

from references import tilted
from references.covariances import between, generator
from references.losses import networks
from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_3_2, theorem_3_5
from shrinkscope.theory.through_layers import BoundedLayer, GaussianLayer, LayerNorms

SLACK = 1e-6  # of the bound: curvature is taken at quadrature nodes (references/losses.py)
KNOWN = {"gradient_norm": 0.0, "curvature": 1.0, "target_mass": 1.0}


def gaussian_layers(dense: torch.Tensor, compressed: torch.Tensor, inverse_variance: float) -> list[GaussianLayer]:
    """The two layers of `references.losses.networks`."""
    return [
        GaussianLayer(
            norms=LayerNorms(dense=float(dense[part].norm()), compressed=float(compressed[part].norm())),
            inverse_min=inverse_variance,
            inverse_max=inverse_variance,
        )
        for part in (slice(0, 6), slice(6, 12))
    ]


def test_the_corrected_and_the_sharpened_form_hold_on_networks():
    rng = generator(0)
    models = networks(1000, rng)
    rows = zip(models.curvature, models.gradient_norm("dense"), models.difference, strict=True)
    ratios = []
    for i, (bend, slope, difference) in enumerate(rows):
        inverse_variance = 10 ** float(between(-2, 2, 1, rng=rng))
        layers = gaussian_layers(models.dense[i], models.compressed[i], inverse_variance)
        epsilon = float(models.delta[i, :6].square().sum()) * inverse_variance / 2
        known = {"gradient_norm": slope, "curvature": bend, "target_mass": 1.0}
        corrected = theorem_3_5.corrected_gaussian(epsilon=epsilon, layers=layers, **known)
        sharpened = theorem_3_5.sharpened_gaussian(epsilon=epsilon, layers=layers, **known)
        whole = corollary_3_2.corrected(
            epsilon=float(models.delta[i].square().sum()) * inverse_variance / 2, inverse_min=inverse_variance, **known
        )
        assert not corrected.violated(difference, tolerance=SLACK * difference + 1e-12)
        assert not sharpened.violated(difference, tolerance=SLACK * difference + 1e-12)
        assert whole.value <= sharpened.value * (1 + 1e-12) <= corrected.value * (1 + 1e-9)
        ratios.append(corrected.value / whole.value)
    assert sorted(ratios)[500] > 5  # the chain costs this much even for two layers


def test_the_printed_chain_is_violated():
    # Layer l is untouched, the last layer is pruned away: ε^(l) = 0 and the printed bound 0, for ℓ(ω) = ½‖ω − ω*‖².
    layers = [
        GaussianLayer(norms=LayerNorms(dense=1.0, compressed=1.0), inverse_min=1.0, inverse_max=1.0),
        GaussianLayer(norms=LayerNorms(dense=2.0, compressed=0.0), inverse_min=1.0, inverse_max=1.0),
    ]
    published = theorem_3_5.as_published_gaussian(epsilon=0.0, layers=layers, largest_eigenvalue=1.0, target_mass=1.0)
    assert published.value == 0.0
    assert published.violated(2.0)
    assert theorem_3_5.sharpened_gaussian(epsilon=0.0, layers=layers, **KNOWN).value == 2.0  # attained
    assert not theorem_3_5.corrected_gaussian(epsilon=0.0, layers=layers, **KNOWN).violated(2.0)


def test_every_layer_of_the_chain_multiplies_what_it_says():
    layer = GaussianLayer(norms=LayerNorms(dense=1.0, compressed=1.0), inverse_min=1.0, inverse_max=1.0)
    values = [theorem_3_5.corrected_gaussian(epsilon=0.0, layers=[layer] * n, **KNOWN).value for n in range(1, 12)]
    plain = [theorem_3_5.sharpened_gaussian(epsilon=0.0, layers=[layer] * n, **KNOWN).value for n in range(1, 12)]
    assert values[0] == plain[0] == 0.0
    assert values[-1] / values[-2] == pytest.approx(3, rel=1e-3)
    assert plain[-1] == 2.0 * 10  # four for each layer after the first, halved


def bounded_layers(count: int, size: float) -> list[BoundedLayer]:
    dense, compressed = (torch.tensor([w], dtype=torch.float64) for w in (size, 0.9 * size))
    layer = BoundedLayer(
        norms=LayerNorms(dense=size, compressed=0.9 * size),
        trace_p=tilted.total_variance(dense),
        trace_q=tilted.total_variance(compressed),
        lipschitz=tilted.lipschitz(1),
        volume=2.0,
        inverse_density=tilted.inverse_density(compressed),
    )
    return [layer] * count


def test_the_chain_of_lemmas_holds_for_laws_of_finite_volume():
    # ℓ(ω) = ½‖ω‖² of two weights, one in each layer: gradient ω, curvature 1.
    size = 0.02
    layers = bounded_layers(2, size)
    epsilon = tilted.divergence(*(torch.tensor([w], dtype=torch.float64) for w in (size, 0.9 * size)))
    difference = 2 * (size**2 - (0.9 * size) ** 2) / 2
    arguments = {"gradient_norm": math.sqrt(2) * size, "curvature": 1.0, "target_mass": 1.0}
    bound = theorem_3_5.corrected(epsilon=epsilon, layers=layers, **arguments)
    assert difference <= bound.value < math.inf
    assert [key for key in bound.constants if key.startswith("ε")] == ["ε^(l)", "ε^(l+1)"]
    published = theorem_3_5.as_published(epsilon=epsilon, layers=layers, largest_eigenvalue=1.0, target_mass=1.0)
    assert published.statement == bound.statement == "Theorem 3.5"
    assert published.value > 0


def test_once_a_divergence_reaches_two_nats_nothing_is_left():
    # Weights of 0.02 that lost a tenth: 6e-6 nats in the first layer, and the third is already out of reach.
    assert theorem_3_5.corrected(epsilon=6e-6, layers=bounded_layers(3, 0.02), **KNOWN).value == math.inf
    layers = bounded_layers(3, 0.3)
    published = theorem_3_5.as_published(epsilon=1.9, layers=layers, largest_eigenvalue=1.0, target_mass=1.0)
    assert published.value == math.inf


def test_one_layer_alone_is_no_chain():
    layer = GaussianLayer(norms=LayerNorms(dense=3.0, compressed=1.0), inverse_min=2.0, inverse_max=4.0)
    alone = corollary_3_2.corrected(epsilon=0.7, inverse_min=2.0, **KNOWN)
    assert theorem_3_5.corrected_gaussian(epsilon=0.7, layers=[layer], **KNOWN).value == alone.value


@pytest.mark.parametrize(
    "form", [theorem_3_5.corrected, theorem_3_5.corrected_gaussian, theorem_3_5.sharpened_gaussian]
)
def test_nonsense_is_refused(form):
    with pytest.raises(TheoryError, match="no layer given; expected the layers from l to L"):
        form(epsilon=0.0, layers=[], **KNOWN)
    layer = GaussianLayer(norms=LayerNorms(dense=1.0, compressed=1.0), inverse_min=1.0, inverse_max=1.0)
    layers = bounded_layers(1, 0.1) if form is theorem_3_5.corrected else [layer]
    with pytest.raises(TheoryError, match="ε, the divergence of layer l is -1.0"):
        form(epsilon=-1.0, layers=layers, **KNOWN)
    with pytest.raises(TheoryError, match="mean absolute target is nan"):
        form(epsilon=0.0, layers=layers, **KNOWN | {"target_mass": math.nan})


@pytest.mark.parametrize("form", [theorem_3_5.as_published, theorem_3_5.as_published_gaussian])
def test_nonsense_in_the_printed_form_is_refused(form):
    with pytest.raises(TheoryError, match="no layer given"):
        form(epsilon=0.0, layers=[], largest_eigenvalue=1.0, target_mass=1.0)
    with pytest.raises(TheoryError, match="ε, the divergence of layer l is nan"):
        form(epsilon=math.nan, layers=bounded_layers(1, 0.1), largest_eigenvalue=1.0, target_mass=1.0)
