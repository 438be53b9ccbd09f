"""What a distance of weights says about a difference of losses: Taylor's formula to second order, as an inequality."""

import math

from shrinkscope.theory.bound import Assumption
from shrinkscope.theory.checks import not_negative, times


def second_order(squared_distance: float, *, gradient_norm: float, curvature: float) -> float:
    """‖∇ℓ‖·r + λ/2·r², at least |ℓ(ω) − ℓ(ω̃)| wherever ‖ω − ω̃‖ ≤ r, in the unit of the loss.

    Proof: Taylor's formula with the remainder in Lagrange's form, |∇ℓᵀΔ| ≤ ‖∇ℓ‖‖Δ‖ and |ΔᵀHΔ| ≤ λ‖Δ‖².

    Args:
        squared_distance: r², an upper bound on ‖ω − ω̃‖²; may be infinite.
        gradient_norm: ‖∇ℓ‖ at one end of the segment from ω̃ to ω, either one. Only the coordinates in which the two
            differ count.
        curvature: λ, the largest *absolute* eigenvalue of ∇²ℓ at any point of the segment.

    Returns:
        The bound; infinite where r is, unless the loss is constant.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here; tests/theory/test_taylor.py.
    """
    square = not_negative(squared_distance, "the squared distance of the weights")
    slope = not_negative(gradient_norm, "the norm of the gradient")
    bend = not_negative(curvature, "the curvature (largest absolute eigenvalue of the Hessian)")
    return times(slope, math.sqrt(square)) + times(bend / 2, square)


def published_assumptions(gradient_norm: float | None) -> tuple[Assumption, ...]:
    """What Eqs. (15), (19) and (46) take for granted.

    Args:
        gradient_norm: ‖∇ℓ‖ at the point of expansion, if it was measured.

    Raises:
        TheoryError: If the norm is negative or NaN.
    """
    flat = None if gradient_norm is None else not_negative(gradient_norm, "the norm of the gradient") == 0
    return (
        Assumption(text="the gradient vanishes at the point of expansion", holds=flat),
        Assumption(text="the loss is quadratic: its Hessian is the same everywhere, and not negative"),
        Assumption(text="the two networks differ in the compared weights only"),
    )


def second_order_assumptions(over_segment: bool | None, same_elsewhere: bool | None) -> tuple[Assumption, ...]:
    """What `second_order` takes for granted about its arguments.

    Args:
        over_segment: Whether the curvature was taken over the whole segment.
        same_elsewhere: Whether the networks differ in the weights that are compared and in nothing else.
    """
    return (
        Assumption(
            text="the curvature is the largest absolute eigenvalue over the whole segment from ω̃ to ω",
            holds=over_segment,
        ),
        Assumption(text="the two networks differ in the compared weights only", holds=same_elsewhere),
    )
