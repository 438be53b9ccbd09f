"""Corollary 3.4: from the divergence of layer l to that of layer l + 1, for Gaussian latents."""

from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative, times
from shrinkscope.theory.through_layers import GaussianLayer, following_square, printed_constant

_ASSUMPTIONS = (
    Assumption(text="the latents of each layer are Gaussians of the same covariance, so that C₁ = K = 0"),
    Assumption(text="Vol(Z) is finite (false of Gaussians; not used in the proof)", holds=False),
)


def as_published(*, epsilon: float, layer: GaussianLayer, following: GaussianLayer) -> Bound:
    """½·λ_max·C_ω·2ε/λ_min nats: Eqs. (9) and (41) with C₁ = K = 0, where the sum of Eq. (40) has become a product.

    Args:
        epsilon: ε ≥ KL of layer l, in nats.
        layer: Layer l, of which λ_min counts.
        following: Layer l + 1, of which λ_max counts.

    Returns:
        A bound on the divergence of layer l + 1 that does not hold: it is 0 for ε = 0.

    Raises:
        TheoryError: If ε is negative or NaN.

    Source: the paper's Corollary 3.4; tests/theory/test_corollary_3_4.py.
    """
    constant = printed_constant(layer.norms, following.norms)
    square = 2 * not_negative(epsilon, "ε, the divergence of layer l") / layer.inverse_min
    return _bound(times(following.inverse_max * constant, square) / 2, {"ε^(l)": epsilon, "C_ω": constant}, "published")


def corrected(*, epsilon: float, layer: GaussianLayer, following: GaussianLayer) -> Bound:
    """½·λ_max·R² nats, with R² = 3((‖ω^(l+1)‖ + ‖ω^(l)‖)² + 2ε/λ_min + (‖ω̃^(l+1)‖ + ‖ω̃^(l)‖)²).

    Proof: KL = ½ΔᵀΣ⁻¹Δ ≤ ½λ_max‖Δ^(l+1)‖²; ‖Δ^(l)‖² ≤ 2ε/λ_min, then `following_square`.

    Args:
        epsilon: ε ≥ KL of layer l, in nats.
        layer: Layer l.
        following: Layer l + 1.

    Returns:
        An upper bound on KL(P_ω‖P_ω̃) of layer l + 1. It says nothing that `sharpened` does not say without layer l.

    Raises:
        TheoryError: If ε is negative or NaN.

    Source: derived here; tests/theory/test_corollary_3_4.py.
    """
    square = 2 * not_negative(epsilon, "ε, the divergence of layer l") / layer.inverse_min
    reach = following_square(square, layer.norms, following.norms)
    constants = {"ε^(l)": epsilon, "λ_min(Σ⁻¹)": layer.inverse_min, "R²": reach}
    return _bound(following.inverse_max * reach / 2, constants | {"λ_max(Σ⁻¹)": following.inverse_max}, "corrected")


def sharpened(*, following: GaussianLayer) -> Bound:
    """½·λ_max·(‖ω^(l+1)‖ + ‖ω̃^(l+1)‖)² nats: always below the corrected form, and nothing in it is of layer l.

    Args:
        following: Layer l + 1.

    Returns:
        An upper bound on KL(P_ω‖P_ω̃) of layer l + 1, attained for ω̃ = −ω along the eigenvector of λ_max.

    Source: the triangle inequality; tests/theory/test_corollary_3_4.py.
    """
    reach = following.norms.furthest
    constants = {"λ_max(Σ⁻¹)": following.inverse_max, "R²": reach}
    return _bound(following.inverse_max * reach / 2, constants, "sharpened")


def _bound(value: float, constants: dict[str, float], form: Form) -> Bound:
    return Bound(
        statement="Corollary 3.4",
        form=form,
        side="upper",
        quantity="KL(P_ω‖P_ω̃) of layer l + 1",
        value=value,
        unit="nats",
        constants=constants,
        assumptions=_ASSUMPTIONS,
    )
