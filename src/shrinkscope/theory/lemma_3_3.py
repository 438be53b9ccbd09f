"""Lemma 3.3: from the divergence of layer l to that of layer l + 1, for latents in a space of finite volume."""

import math

from shrinkscope.theory import equation_16
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative, times
from shrinkscope.theory.through_layers import BoundedLayer, following_square, printed_constant


def as_published(*, epsilon: float, layer: BoundedLayer, following: BoundedLayer) -> Bound:
    """C_{l+1}·(√(2ε)/(C_l·Vol(Z)) + C_ω) nats, with C_{l+1} = C̃²·∫dz/P_ω̃ and C_ω of Eq. (35).

    Args:
        epsilon: ε ≥ KL of layer l, in nats.
        layer: Layer l.
        following: Layer l + 1.

    Returns:
        A bound on the divergence of layer l + 1 that does not hold; infinite where a volume is, as for Gaussians.

    Raises:
        TheoryError: If ε is negative or NaN.

    Source: the paper's Lemma 3.3, Eqs. (29)–(35); tests/theory/test_lemma_3_3.py.
    """
    root = math.sqrt(2 * not_negative(epsilon, "ε, the divergence of layer l"))
    distance = root / (layer.lipschitz * layer.volume) + printed_constant(layer.norms, following.norms)
    finite = math.isfinite(layer.volume) and math.isfinite(following.inverse_density)
    value = following.lipschitz**2 * following.inverse_density * distance if finite else math.inf
    return _bound(epsilon, layer, following, value, {"Vol(Z)": layer.volume, "C_l": layer.lipschitz}, "published")


def corrected(*, epsilon: float, layer: BoundedLayer, following: BoundedLayer) -> Bound:
    """C̃²·∫dz/P_ω̃·R² nats, with R² = 3((‖ω^(l+1)‖ + ‖ω^(l)‖)² + 2C s/(1 − s) + (‖ω̃^(l+1)‖ + ‖ω̃^(l)‖)²).

    Proof: KL ≤ χ² = ∫(P − P̃)²/P̃ ≤ C̃²‖Δ^(l+1)‖²∫dz/P̃; ‖Δ^(l)‖² by the corrected Eq. (16), then `following_square`.

    Args:
        epsilon: ε ≥ KL of layer l, in nats.
        layer: Layer l.
        following: Layer l + 1.

    Returns:
        An upper bound on KL(P_ω‖P_ω̃) of layer l + 1. It says nothing that `sharpened` does not say without layer l.

    Raises:
        TheoryError: If ε is negative or NaN.

    Source: derived here; tests/theory/test_lemma_3_3.py.
    """
    square = equation_16.corrected(epsilon=epsilon, trace_p=layer.trace_p, trace_q=layer.trace_q).value
    reach = following_square(square, layer.norms, following.norms)
    value = times(following.lipschitz**2 * following.inverse_density, reach)
    return _bound(epsilon, layer, following, value, {"‖Δ^(l)‖²": square, "R²": reach}, "corrected")


def sharpened(*, following: BoundedLayer) -> Bound:
    """log(1 + C̃²·∫dz/P_ω̃·(‖ω^(l+1)‖ + ‖ω̃^(l+1)‖)²) nats: below the corrected form, with nothing in it of layer l.

    Proof: KL ≤ log(1 + χ²) by Jensen, χ² as in `corrected`, and the triangle inequality.

    Args:
        following: Layer l + 1.

    Returns:
        An upper bound on KL(P_ω‖P_ω̃) of layer l + 1.

    Source: derived here; tests/theory/test_lemma_3_3.py.
    """
    reach = following.norms.furthest
    value = math.log1p(times(following.lipschitz**2 * following.inverse_density, reach))
    return _bound(None, None, following, value, {"R²": reach}, "sharpened")


def _bound(
    epsilon: float | None,
    layer: BoundedLayer | None,
    following: BoundedLayer,
    value: float,
    extra: dict[str, float],
    form: Form,
) -> Bound:
    constants = {"C̃_{l+1}": following.lipschitz, "∫dz/P_ω̃": following.inverse_density} | extra
    if epsilon is not None and layer is not None:
        constants["ε^(l)"] = float(epsilon)
    spaces = [side for side in (layer, following) if side is not None]
    return Bound(
        statement="Lemma 3.3",
        form=form,
        side="upper",
        quantity="KL(P_ω‖P_ω̃) of layer l + 1",
        value=value,
        unit="nats",
        constants=constants,
        assumptions=(
            Assumption(text="Vol(Z) is finite", holds=all(math.isfinite(side.volume) for side in spaces)),
            Assumption(text="∫dz/P_ω̃ is finite", holds=math.isfinite(following.inverse_density)),
            Assumption(text="the densities are Lipschitz in the weights with the constants given"),
        ),
    )
