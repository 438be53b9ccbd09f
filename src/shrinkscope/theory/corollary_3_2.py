"""Corollary 3.2: the performance difference from the divergence of Gaussian latents of equal covariance."""

import math

from shrinkscope.theory.bound import Assumption, Bound
from shrinkscope.theory.checks import finite, not_negative, positive, times
from shrinkscope.theory.taylor import published_assumptions, second_order, second_order_assumptions

_GAUSSIAN = Assumption(text="the latents are Gaussians of the same covariance")


def as_published(
    *,
    epsilon: float,
    inverse_min: float,
    largest_eigenvalue: float,
    target_mass: float,
    gradient_norm: float | None = None,
) -> Bound:
    """E[Y]·(λ_max/2)·√(2ε/λ_min), in print the bound on a squared distance without the square.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃) of the last layer, in nats.
        inverse_min: λ_min, the smallest eigenvalue of Σ⁻¹.
        largest_eigenvalue: λ_max of ∇²ℓ(ω̃), with its sign.
        target_mass: E[Y], the factor of the paper's loss Y·ℓ(ω).
        gradient_norm: ‖∇ℓ(ω̃)‖, which is taken to be 0; given, that is checked.

    Returns:
        A bound on the performance difference that does not hold, in print in the unit of the loss.

    Raises:
        TheoryError: If ε is negative, λ_min is not positive, or a number is NaN.

    Source: the paper's Corollary 3.2, Eqs. (8), (20)–(22); tests/theory/test_corollary_3_2.py.
    """
    epsilon = not_negative(epsilon, "ε, the divergence KL(P_ω‖P_ω̃)")
    smallest = positive(inverse_min, "λ_min, the smallest eigenvalue of Σ⁻¹")
    bend = finite(largest_eigenvalue, "λ_max, the largest eigenvalue of the Hessian")
    mass = finite(target_mass, "E[Y], the mean target")
    return Bound(
        statement="Corollary 3.2",
        form="published",
        side="upper",
        quantity="D(F, F̃), the performance difference",
        value=times(mass * bend / 2, math.sqrt(2 * epsilon / smallest)),
        unit="loss",
        constants={"ε": epsilon, "λ_min(Σ⁻¹)": smallest, "λ_max": bend, "E[Y]": mass},
        assumptions=(
            _GAUSSIAN,
            *published_assumptions(gradient_norm),
        ),
    )


def corrected(
    *,
    epsilon: float,
    inverse_min: float,
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """E|Y|·(‖∇ℓ‖·√(2ε/λ_min) + λ·ε/λ_min), in the unit of the loss, for every ε.

    Proof: ½λ_min‖ω − ω̃‖² ≤ ½ΔᵀΣ⁻¹Δ = KL ≤ ε, then Taylor's formula (`second_order`).

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats, of the latents of all weights in which the networks differ.
        inverse_min: λ_min, the smallest eigenvalue of Σ⁻¹.
        gradient_norm: ‖∇ℓ‖ at ω or at ω̃, over the coordinates in which they differ.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ over the segment from ω̃ to ω.
        target_mass: E|Y|, if the loss is Y·ℓ(ω) and the two numbers above hold for every sample; 1 if ℓ is the mean
            loss itself.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the networks differ in these weights and in nothing else; None if that is unknown.

    Returns:
        An upper bound on the performance difference.

    Raises:
        TheoryError: If a number is negative or NaN, or λ_min is not positive.

    Source: derived here; tests/theory/test_corollary_3_2.py.
    """
    epsilon = not_negative(epsilon, "ε, the divergence KL(P_ω‖P_ω̃)")
    smallest = positive(inverse_min, "λ_min, the smallest eigenvalue of Σ⁻¹")
    mass = not_negative(target_mass, "E|Y|, the mean absolute target")
    square = 2 * epsilon / smallest
    return Bound(
        statement="Corollary 3.2",
        form="corrected",
        side="upper",
        quantity="D(F, F̃), the performance difference",
        value=times(mass, second_order(square, gradient_norm=gradient_norm, curvature=curvature)),
        unit="loss",
        constants={
            "ε": epsilon,
            "λ_min(Σ⁻¹)": smallest,
            "r²": square,
            "‖∇ℓ‖": float(gradient_norm),
            "λ": float(curvature),
            "E|Y|": mass,
        },
        assumptions=(_GAUSSIAN, *second_order_assumptions(over_segment, same_elsewhere)),
    )


def sharpened(
    *,
    epsilon: float,
    whitened_gradient: float,
    whitened_curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """E|Y|·(√(2ε)·√(∇ℓᵀΣ∇ℓ) + ρ·ε): loss and latent measured in one metric, so that no λ_min is lost.

    Proof: with x = Σ^(−½)Δ, ‖x‖² = 2·KL; the gradient in x is Σ^½∇ℓ and the Hessian Σ^½∇²ℓΣ^½. Since
    ρ ≤ λ/λ_min, this is at most the corrected form. For Σ⁻¹ equal to a quadratic loss's own Hessian ρ = 1.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats, of the latents of all weights in which the networks differ.
        whitened_gradient: √(∇ℓᵀΣ∇ℓ) at ω or at ω̃.
        whitened_curvature: ρ, the largest absolute eigenvalue of Σ^½∇²ℓΣ^½, or of ∇²ℓΣ, over the segment.
        target_mass: E|Y|, see `corrected`.
        over_segment: Whether ρ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the networks differ in these weights and in nothing else; None if that is unknown.

    Returns:
        An upper bound on the performance difference, in the unit of the loss.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here; tests/theory/test_corollary_3_2.py.
    """
    epsilon = not_negative(epsilon, "ε, the divergence KL(P_ω‖P_ω̃)")
    mass = not_negative(target_mass, "E|Y|, the mean absolute target")
    return Bound(
        statement="Corollary 3.2",
        form="sharpened",
        side="upper",
        quantity="D(F, F̃), the performance difference",
        value=times(mass, second_order(2 * epsilon, gradient_norm=whitened_gradient, curvature=whitened_curvature)),
        unit="loss",
        constants={"ε": epsilon, "√(∇ℓᵀΣ∇ℓ)": whitened_gradient, "ρ": whitened_curvature, "E|Y|": mass},
        assumptions=(_GAUSSIAN, *second_order_assumptions(over_segment, same_elsewhere)),
    )
