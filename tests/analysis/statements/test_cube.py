"""The latent on a cube: its divergence and constants by integration over the cube, and Lemma 3.3 on many pairs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad

from shrinkscope.analysis.statements.cube import cube_trials
from shrinkscope.theory import lemma_3_3
from shrinkscope.theory.through_layers import BoundedLayer, LayerNorms


def pair_of(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    dense = torch.randn(number, generator=rng, dtype=torch.float64)
    kept = torch.rand(number, generator=rng) < 0.6
    return dense, torch.where(kept, dense, 0.0)


def density(weights: list[float], z: tuple[float, ...]) -> float:
    return math.prod(1 + w * x for w, x in zip(weights, z, strict=True))


def test_divergence_and_constants_agree_with_integrals_over_the_square():
    dense, compressed = (torch.tensor(values, dtype=torch.float64) for values in ([3.0, -1.5], [3.0, 0.0]))
    scaled, after = [0.5, -0.25], [0.5, 0.0]  # the largest is 1/2 of two weights
    trials = list(cube_trials([(dense, compressed), (dense, compressed)]))
    square = (-0.5, 0.5, -0.5, 0.5)

    def kl(y: float, x: float) -> float:
        return density(scaled, (x, y)) * math.log(density(scaled, (x, y)) / density(after, (x, y)))

    measured = dblquad(kl, *square, epsabs=1e-12)[0]
    inverse = dblquad(lambda y, x: 1 / density(after, (x, y)), *square, epsabs=1e-12)[0]
    steepest = max(
        math.hypot(x * (1 + b * y), y * (1 + a * x))
        for a in (-0.5, 0.5)
        for b in (-0.5, 0.5)
        for x in (-0.5, 0.5)
        for y in (-0.5, 0.5)
    )
    published, corrected, sharpened = trials
    assert published.bound.form == "published"
    for trial in trials:
        assert trial.measured == pytest.approx(measured, rel=1e-10)  # of dblquad's 1e-12
        assert trial.bound.constants["∫dz/P_ω̃"] == pytest.approx(inverse, rel=1e-10)
        assert trial.bound.constants["C̃_{l+1}"] >= steepest * (1 - 1e-12)
        assert trial.bound.assumptions[0].holds
    assert published.bound.constants["Vol(Z)"] == 1.0
    spread = 0.0
    for a in scaled:
        mean = quad(lambda z, a=a: z * (1 + a * z), -0.5, 0.5)[0]
        second = quad(lambda z, a=a: z * z * (1 + a * z), -0.5, 0.5)[0]
        spread += second - mean**2
    after_spread = 1 / 6 - (0.5 / 12) ** 2
    norms = LayerNorms(dense=math.hypot(*scaled), compressed=0.5)
    constants = {"norms": norms, "trace_p": spread, "trace_q": after_spread, "volume": 1.0, "inverse_density": inverse}
    layer = BoundedLayer(lipschitz=corrected.bound.constants["C̃_{l+1}"], **constants)
    by_hand = lemma_3_3.corrected(epsilon=measured, layer=layer, following=layer)
    assert corrected.bound.value == pytest.approx(by_hand.value, rel=1e-9)
    assert sharpened.bound.value <= corrected.bound.value


@settings(max_examples=200)
@given(sizes=st.lists(st.integers(2, 40), min_size=2, max_size=4), seed=st.integers(0, 10_000))
def test_the_corrected_and_the_sharpened_form_hold(sizes, seed):
    trials = list(cube_trials([pair_of(size, seed + place) for place, size in enumerate(sizes)]))
    assert len(trials) == 3 * (len(sizes) - 1)
    for trial in trials:
        assert math.isfinite(trial.bound.value)
        if trial.bound.form != "published":
            assert not trial.bound.violated(trial.measured, tolerance=1e-12)


def test_a_large_layer_neither_overflows_nor_vanishes():
    first, second = pair_of(300_000, 1), pair_of(1_000, 2)
    for trial in cube_trials([first, second, first]):
        assert math.isfinite(trial.bound.value)
        assert trial.measured > 0


def test_layers_of_zeros_have_no_divergence():
    zero = torch.zeros(5, dtype=torch.float64)
    for trial in cube_trials([(zero, zero), (zero, zero)]):
        assert trial.measured == 0.0
