"""Lemma 3.1: the performance difference from the divergence of the latents of the last layer."""

import math

from shrinkscope.theory import equation_16
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import finite, not_negative, times
from shrinkscope.theory.taylor import published_assumptions, second_order, second_order_assumptions


def as_published(
    *,
    epsilon: float,
    trace_p: float,
    trace_q: float,
    largest_eigenvalue: float,
    target_mass: float,
    gradient_norm: float | None = None,
) -> Bound:
    """E[Y]·λ_max·s·C/(2(1 − s)), with s = √(ε/2) and C = tr Σ + tr Σ̃, in the unit of the loss.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃) of the last layer, in nats.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.
        largest_eigenvalue: λ_max of ∇²ℓ(ω̃), with its sign.
        target_mass: E[Y], the factor of the paper's loss Y·ℓ(ω): 1 for one-hot labels, or if ℓ is the loss itself.
        gradient_norm: ‖∇ℓ(ω̃)‖, which is taken to be 0; given, that is checked.

    Returns:
        A bound on the performance difference that does not hold; infinite for ε ≥ 2, of which it does not speak.

    Raises:
        TheoryError: If ε or a trace is negative, or a number is NaN.

    Source: the paper's Lemma 3.1 and Eq. (18); tests/theory/test_lemma_3_1.py has networks that violate it.
    """
    distance = equation_16.as_published(epsilon=epsilon, trace_p=trace_p, trace_q=trace_q)
    bend = finite(largest_eigenvalue, "λ_max, the largest eigenvalue of the Hessian")
    mass = finite(target_mass, "E[Y], the mean target")
    value = math.inf if math.isinf(distance.value) else mass * bend / 2 * distance.value
    return Bound(
        statement="Lemma 3.1",
        form="published",
        side="upper",
        quantity="D(F, F̃), the performance difference",
        value=value,
        unit="loss",
        constants=distance.constants | {"λ_max": bend, "E[Y]": mass},
        assumptions=(
            *distance.assumptions,
            Assumption(text="Vol(Z) is finite (not used in the proof; false of Gaussian and Student-t latents)"),
            *published_assumptions(gradient_norm),
        ),
    )


def corrected(
    *,
    epsilon: float,
    trace_p: float,
    trace_q: float,
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """E|Y|·(‖∇ℓ‖·r + λ/2·r²) with r² = 2C s/(1 − s), s = √(ε/2), C = tr Σ + tr Σ̃, in the unit of the loss.

    Proof: ‖ω − ω̃‖² ≤ r² by the corrected Eq. (16), then Taylor's formula (`second_order`).

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats, of the latents of all weights in which the networks differ.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.
        gradient_norm: ‖∇ℓ‖ at ω or at ω̃, over the coordinates in which they differ. At a fine-tuned sparse network it
            does not vanish there: only the coordinates that were kept have been trained.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ over the segment from ω̃ to ω.
        target_mass: E|Y|, if the loss is Y·ℓ(ω) and the two numbers above hold for every sample; 1 if ℓ is the mean
            loss itself.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the networks differ in these weights and in nothing else; None if that is unknown.

    Returns:
        An upper bound on the performance difference; infinite for ε ≥ 2.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here; tests/theory/test_lemma_3_1.py.
    """
    distance = equation_16.corrected(epsilon=epsilon, trace_p=trace_p, trace_q=trace_q)
    needed = second_order_assumptions(over_segment, same_elsewhere)
    return _bound(distance, gradient_norm, curvature, target_mass, needed, "corrected")


def sharpened(
    *,
    epsilon: float,
    trace_p: float,
    trace_q: float,
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """The same with r² the largest ‖ω − ω̃‖² that ε leaves to laws with these traces: attained, and for every ε.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats, of the latents of all weights in which the networks differ.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.
        gradient_norm: ‖∇ℓ‖ at ω or at ω̃, over the coordinates in which they differ.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ over the segment from ω̃ to ω.
        target_mass: E|Y|, see `corrected`.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the networks differ in these weights and in nothing else; None if that is unknown.

    Returns:
        An upper bound on the performance difference, at most that of `corrected`.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here, from the sharpened Eq. (16); tests/theory/test_lemma_3_1.py.
    """
    distance = equation_16.sharpened(epsilon=epsilon, trace_p=trace_p, trace_q=trace_q)
    needed = second_order_assumptions(over_segment, same_elsewhere)
    return _bound(distance, gradient_norm, curvature, target_mass, needed, "sharpened")


def sharpened_equal_covariance(
    *,
    epsilon: float,
    inverse_min: float,
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    over_segment: bool | None = None,
    same_elsewhere: bool | None = None,
) -> Bound:
    """The same for latents of equal covariance, Gaussian or not: r² = x(ε)/λ_min, free of the dimension.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats, of the latents of all weights in which the networks differ.
        inverse_min: λ_min, the smallest eigenvalue of the inverse *covariance*: of a Student-t law, (df − 2)/df times
            that of the inverse scale.
        gradient_norm: ‖∇ℓ‖ at ω or at ω̃, over the coordinates in which they differ.
        curvature: λ, the largest absolute eigenvalue of ∇²ℓ over the segment from ω̃ to ω.
        target_mass: E|Y|, see `corrected`.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.
        same_elsewhere: Whether the networks differ in these weights and in nothing else; None if that is unknown.

    Returns:
        An upper bound on the performance difference; for small ε that of Corollary 3.2.

    Raises:
        TheoryError: If a number is negative or NaN, or λ_min is not positive.

    Source: derived here, from `equation_16.sharpened_equal_covariance`; tests/theory/test_lemma_3_1.py.
    """
    distance = equation_16.sharpened_equal_covariance(epsilon=epsilon, inverse_min=inverse_min)
    needed = second_order_assumptions(over_segment, same_elsewhere)
    return _bound(distance, gradient_norm, curvature, target_mass, needed, "sharpened")


def _bound(
    distance: Bound,
    gradient_norm: float,
    curvature: float,
    target_mass: float,
    needed: tuple[Assumption, ...],
    form: Form,
) -> Bound:
    mass = not_negative(target_mass, "E|Y|, the mean absolute target")
    value = second_order(distance.value, gradient_norm=gradient_norm, curvature=curvature)
    return Bound(
        statement="Lemma 3.1",
        form=form,
        side="upper",
        quantity="D(F, F̃), the performance difference",
        value=times(mass, value),
        unit="loss",
        constants=distance.constants
        | {"r²": distance.value, "‖∇ℓ‖": float(gradient_norm), "λ": float(curvature), "E|Y|": mass},
        assumptions=distance.assumptions + needed,
    )
