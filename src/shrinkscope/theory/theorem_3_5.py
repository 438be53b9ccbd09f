"""Theorem 3.5: the performance difference from the divergence of one layer, chained through the layers after it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_3_2, corollary_3_4, equation_16, lemma_3_1, lemma_3_3
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative, times
from shrinkscope.theory.taylor import second_order, second_order_assumptions
from shrinkscope.theory.through_layers import BoundedLayer, GaussianLayer

_GAUSSIAN = Assumption(text="the latents of each layer are Gaussians of the same covariance")
_MEANS = Assumption(text="the weights are the means of the latents, whose densities are Lipschitz in them as given")

Layer = TypeVar("Layer", BoundedLayer, GaussianLayer)


def as_published(
    *, epsilon: float, layers: Sequence[BoundedLayer], largest_eigenvalue: float, target_mass: float
) -> Bound:
    """Lemma 3.3 as printed from layer l to L, then Lemma 3.1 as printed, in the unit of the loss.

    Args:
        epsilon: ε ≥ KL of the first of the layers, in nats.
        layers: Layers l to L, in order.
        largest_eigenvalue: λ_max of ∇²ℓ(ω̃) in the last layer's weights.
        target_mass: E[Y].

    Returns:
        A bound on the performance difference that does not hold; infinite once an ε reaches 2, or a volume is infinite.

    Raises:
        TheoryError: If there is no layer, or a number is out of range.

    Source: the paper's Theorem 3.5; tests/theory/test_theorem_3_5.py.
    """
    chain = [not_negative(epsilon, "ε, the divergence of layer l")]
    for layer, following in _pairs(layers):
        chain.append(lemma_3_3.as_published(epsilon=chain[-1], layer=layer, following=following).value)
    last = lemma_3_1.as_published(
        epsilon=chain[-1],
        trace_p=layers[-1].trace_p,
        trace_q=layers[-1].trace_q,
        largest_eigenvalue=largest_eigenvalue,
        target_mass=target_mass,
    )
    return _bound(last.value, chain, last.constants, last.assumptions, "published")


def as_published_gaussian(
    *, epsilon: float, layers: Sequence[GaussianLayer], largest_eigenvalue: float, target_mass: float
) -> Bound:
    """Corollary 3.4 as printed from layer l to L, then Corollary 3.2 as printed, in the unit of the loss.

    Args:
        epsilon: ε ≥ KL of the first of the layers, in nats.
        layers: Layers l to L, in order.
        largest_eigenvalue: λ_max of ∇²ℓ(ω̃) in the last layer's weights.
        target_mass: E[Y].

    Returns:
        A bound on the performance difference that does not hold: it is 0 for ε = 0, whatever the other layers did.

    Raises:
        TheoryError: If there is no layer, or a number is out of range.

    Source: the paper's Theorem 3.5; tests/theory/test_theorem_3_5.py.
    """
    chain = [not_negative(epsilon, "ε, the divergence of layer l")]
    for layer, following in _pairs(layers):
        chain.append(corollary_3_4.as_published(epsilon=chain[-1], layer=layer, following=following).value)
    last = corollary_3_2.as_published(
        epsilon=chain[-1],
        inverse_min=layers[-1].inverse_min,
        largest_eigenvalue=largest_eigenvalue,
        target_mass=target_mass,
    )
    return _bound(last.value, chain, last.constants, last.assumptions, "published")


def corrected(
    *,
    epsilon: float,
    layers: Sequence[BoundedLayer],
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """The corrected Lemma 3.3 from layer l to L, then Taylor's formula in the weights of all of these layers.

    Proof: the chain bounds the divergence of each layer k ≥ l, the corrected Eq. (16) then ‖Δ^(k)‖²; these add up, and
    `second_order` follows. Lemma 3.1 for the last layer alone would leave out what the layers before it did.

    Args:
        epsilon: ε ≥ KL of the first of the layers, in nats.
        layers: Layers l to L, in order.
        gradient_norm: ‖∇ℓ‖ in the weights of all these layers, at ω or at ω̃.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ in these weights over the segment from ω̃ to ω.
        target_mass: E|Y|, see Lemma 3.1.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the layers before l and all else are equal; None if that is unknown.

    Returns:
        An upper bound on the performance difference, in the unit of the loss; infinite once an ε reaches 2 nats.

    Raises:
        TheoryError: If there is no layer, or a number is out of range.

    Source: derived here; tests/theory/test_theorem_3_5.py.
    """
    chain = [not_negative(epsilon, "ε, the divergence of layer l")]
    for layer, following in _pairs(layers):
        chain.append(lemma_3_3.corrected(epsilon=chain[-1], layer=layer, following=following).value)
    square = sum(
        equation_16.corrected(epsilon=at, trace_p=layer.trace_p, trace_q=layer.trace_q).value
        for at, layer in zip(chain, layers, strict=True)
    )
    needed = (_MEANS, *second_order_assumptions(over_segment, same_elsewhere))
    return _taylor(square, chain, gradient_norm, curvature, target_mass, needed, "corrected")


def corrected_gaussian(
    *,
    epsilon: float,
    layers: Sequence[GaussianLayer],
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """The corrected Corollary 3.4 from layer l to L, then Taylor's formula in the weights of all of these layers.

    Args:
        epsilon: ε ≥ KL of the first of the layers, in nats.
        layers: Layers l to L, in order.
        gradient_norm: ‖∇ℓ‖ in the weights of all these layers, at ω or at ω̃.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ in these weights over the segment from ω̃ to ω.
        target_mass: E|Y|, see Lemma 3.1.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the layers before l and all else are equal; None if that is unknown.

    Returns:
        An upper bound on the performance difference, in the unit of the loss. `sharpened_gaussian` is below it.

    Raises:
        TheoryError: If there is no layer, or a number is out of range.

    Source: derived here; tests/theory/test_theorem_3_5.py.
    """
    chain = [not_negative(epsilon, "ε, the divergence of layer l")]
    for layer, following in _pairs(layers):
        chain.append(corollary_3_4.corrected(epsilon=chain[-1], layer=layer, following=following).value)
    square = sum(2 * at / layer.inverse_min for at, layer in zip(chain, layers, strict=True))
    needed = (_GAUSSIAN, *second_order_assumptions(over_segment, same_elsewhere))
    return _taylor(square, chain, gradient_norm, curvature, target_mass, needed, "corrected")


def sharpened_gaussian(
    *,
    epsilon: float,
    layers: Sequence[GaussianLayer],
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """Layer l from its divergence, and every layer after it from the norms of its weights alone: no chain.

    It is below the corrected chain, always, and shows what the chain carries from layer to layer: nothing. A bound that
    is small when the compression was mild needs the divergence of *every* layer: use Corollary 3.2 for all weights.

    Args:
        epsilon: ε ≥ KL of the first of the layers, in nats.
        layers: Layers l to L, in order.
        gradient_norm: ‖∇ℓ‖ in the weights of all these layers, at ω or at ω̃.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ in these weights over the segment from ω̃ to ω.
        target_mass: E|Y|, see Lemma 3.1.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the layers before l and all else are equal; None if that is unknown.

    Returns:
        An upper bound on the performance difference, in the unit of the loss.

    Raises:
        TheoryError: If there is no layer, or a number is out of range.

    Source: derived here; tests/theory/test_theorem_3_5.py.
    """
    _pairs(layers)
    first = 2 * not_negative(epsilon, "ε, the divergence of layer l") / layers[0].inverse_min
    square = min(first, layers[0].norms.furthest) + sum(layer.norms.furthest for layer in layers[1:])
    needed = (_GAUSSIAN, *second_order_assumptions(over_segment, same_elsewhere))
    return _taylor(square, [epsilon], gradient_norm, curvature, target_mass, needed, "sharpened")


def _pairs(layers: Sequence[Layer]) -> list[tuple[Layer, Layer]]:
    if not layers:
        raise TheoryError("no layer given; expected the layers from l to L")
    return list(pairwise(layers))


def _taylor(
    square: float,
    chain: list[float],
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    needed: tuple[Assumption, ...],
    form: Form,
) -> Bound:
    mass = not_negative(target_mass, "E|Y|, the mean absolute target")
    value = times(mass, second_order(square, gradient_norm=gradient_norm, curvature=curvature))
    constants = {"r²": square, "‖∇ℓ‖": float(gradient_norm), "λ": float(curvature), "E|Y|": mass}
    return _bound(value, chain, constants, needed, form)


def _bound(
    value: float, chain: list[float], constants: dict[str, float], needed: tuple[Assumption, ...], form: Form
) -> Bound:
    return Bound(
        statement="Theorem 3.5",
        form=form,
        side="upper",
        quantity="D(F, F̃), the performance difference",
        value=value,
        unit="loss",
        constants=constants | {f"ε^(l+{k})" if k else "ε^(l)": float(at) for k, at in enumerate(chain)},
        assumptions=needed,
    )
