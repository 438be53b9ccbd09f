"""From layer to layer: the printed sum fails, the corrected one holds, and it never beats the triangle inequality."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references.covariances import generator, normal
from shrinkscope.errors import TheoryError
from shrinkscope.theory.through_layers import (
    BoundedLayer,
    GaussianLayer,
    LayerNorms,
    following_square,
    printed_constant,
)

norms = st.floats(0, 100)


def padded(count: int, dim: int, to: int, rng: torch.Generator) -> torch.Tensor:
    vectors = normal(count, dim, rng=rng) * 10 ** normal(count, 1, rng=rng)
    return torch.nn.functional.pad(vectors, (0, to - dim))


@pytest.mark.parametrize(("dim", "following"), [(1, 1), (3, 5), (5, 2)])
def test_the_corrected_sum_holds_on_thousands_of_pairs_of_layers(dim, following):
    rng, size = generator(dim), max(dim, following)
    layer, layer_compressed = padded(2000, dim, size, rng), padded(2000, dim, size, rng)
    after, after_compressed = padded(2000, following, size, rng), padded(2000, following, size, rng)
    measured = (after - after_compressed).square().sum(-1).tolist()
    square = (layer - layer_compressed).square().sum(-1).tolist()
    lengths = [v.norm(dim=-1).tolist() for v in (layer, layer_compressed, after, after_compressed)]
    for i, (a, b, c, d) in enumerate(zip(*lengths, strict=True)):
        first, second = LayerNorms(dense=a, compressed=b), LayerNorms(dense=c, compressed=d)
        assert measured[i] <= following_square(square[i], first, second) * (1 + 1e-12)
        assert measured[i] <= second.furthest * (1 + 1e-12)


@given(a=norms, b=norms, c=norms, d=norms, square=norms)
@settings(max_examples=500)
def test_the_chain_never_says_more_than_the_norms_of_the_layer_itself(a, b, c, d, square):
    second = LayerNorms(dense=c, compressed=d)
    assert following_square(square, LayerNorms(dense=a, compressed=b), second) >= second.furthest * (1 - 1e-15)


def test_the_printed_sum_of_squares_is_violated():
    # Eqs. (32), (37), (46): from 3 over 1 and −1 to −3, three steps of 2. The sum of squares is 12, the square of the
    # sum 36.
    w, after = torch.tensor([1.0, -1.0], dtype=torch.float64), torch.tensor([3.0, -3.0], dtype=torch.float64)
    steps = torch.stack([after[0] - w[0], w[0] - w[1], w[1] - after[1]])
    measured = float(steps.sum() ** 2)
    assert measured == float((after[0] - after[1]) ** 2)
    assert measured > float(steps.square().sum())
    first, second = (LayerNorms(dense=float(v[0]), compressed=float(-v[1])) for v in (w, after))
    assert measured <= following_square(4.0, first, second)


@pytest.mark.parametrize("length", [0.01, 0.5])
def test_the_printed_constant_is_too_small_for_norms_below_one(length):
    # Eq. (33): ω^(l) = −ω^(l+1), so that ‖ω^(l+1) − ω^(l)‖² = 4‖ω‖². Its products c·c are of the fourth order. (With c
    # the norm instead of its square, c itself is too small for norms above 1: no reading of c is right for all.)
    same = LayerNorms(dense=length, compressed=0.0)
    assert printed_constant(same, same) < (2 * length) ** 2


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_impossible_norms_are_refused(value):
    with pytest.raises(TheoryError, match="‖ω‖, the norm of the dense weights is"):
        LayerNorms(dense=value, compressed=1.0)
    with pytest.raises(TheoryError, match="‖ω̃‖, the norm of the compressed weights is"):
        LayerNorms(dense=1.0, compressed=value)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.0, 1.0, "λ_min, the smallest eigenvalue of Σ⁻¹ is 0.0"),
        (1.0, math.inf, "λ_max, the largest eigenvalue of Σ⁻¹ is inf"),
        (2.0, 1.0, "λ_max of Σ⁻¹ is 1 and λ_min is 2; expected λ_min ≤ λ_max"),
    ],
)
def test_impossible_eigenvalues_are_refused(low, high, message):
    with pytest.raises(TheoryError, match=message):
        GaussianLayer(norms=LayerNorms(dense=1, compressed=1), inverse_min=low, inverse_max=high)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trace_p": -1.0}, "trace of Σ is -1.0"),
        ({"trace_q": math.nan}, "trace of Σ̃ is nan"),
        ({"lipschitz": 0.0}, "Lipschitz constant of the density is 0.0"),
        ({"volume": 0.0}, r"Vol\(Z\) is 0.0; expected a positive number"),
        ({"inverse_density": math.nan}, "∫ dz/P_ω̃ is nan"),
        ({"inverse_density": 3.9}, r"∫ dz/P_ω̃ is 3.9 and Vol\(Z\) is 2; expected at least Vol\(Z\)²"),
        ({"volume": math.inf}, r"Vol\(Z\) is inf; expected at least"),
    ],
)
def test_impossible_constants_are_refused(change, message):
    arguments = {"trace_p": 1.0, "trace_q": 1.0, "lipschitz": 1.0, "volume": 2.0, "inverse_density": 4.0} | change
    with pytest.raises(TheoryError, match=message):
        BoundedLayer(norms=LayerNorms(dense=1, compressed=1), **arguments)
