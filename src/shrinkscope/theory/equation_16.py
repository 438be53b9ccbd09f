"""Eq. (16): Corollary 2.6 read backwards, AP2 from AP3 for laws that have nothing but means and covariances."""

import math

from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative, positive, times
from shrinkscope.theory.moments import furthest_means


def as_published(*, epsilon: float, trace_p: float, trace_q: float) -> Bound:
    """‖ω − ω̃‖² ≤ C s/(1 − s), with s = √(ε/2) and C = tr Σ + tr Σ̃: half of what Corollary 2.6 gives.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.

    Returns:
        A bound in squared units of the weights; infinite for ε ≥ 2, of which it does not speak.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: the paper's Eq. (16); tests/theory/test_equation_16.py: it holds nevertheless, by `sharpened`.
    """
    return _from_pinsker(epsilon, trace_p, trace_q, trace_p + trace_q, "published")


def corrected(*, epsilon: float, trace_p: float, trace_q: float) -> Bound:
    """‖ω − ω̃‖² ≤ 2C s/(1 − s), with s = √(ε/2) and C = tr Σ + tr Σ̃.

    Proof: Corollary 2.6 says x/(2C + x) ≤ s for x = ‖ω − ω̃‖²; for s < 1 that is x ≤ 2C s/(1 − s).

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.

    Returns:
        A bound in squared units of the weights; infinite for ε ≥ 2, where Pinsker's inequality says nothing.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here; tests/theory/test_equation_16.py.
    """
    return _from_pinsker(epsilon, trace_p, trace_q, 2 * (trace_p + trace_q), "corrected")


def sharpened(*, epsilon: float, trace_p: float, trace_q: float) -> Bound:
    """The largest ‖ω − ω̃‖² that a divergence of ε leaves to laws with these traces: attained, and finite for every ε.

    It is at most C s/(1 − s) for s < 1. So Eq. (16) is true as printed, although Corollary 2.6 gives twice that.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.

    Returns:
        A bound in squared units of the weights.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: Nishiyama & Sason (2020), see `furthest_means`; tests/theory/test_equation_16.py.
    """
    constants = _constants(epsilon, trace_p, trace_q)
    return _bound(furthest_means(epsilon, trace_p, trace_q), constants, (), "sharpened")


def sharpened_equal_covariance(*, epsilon: float, inverse_min: float) -> Bound:
    """x(ε)/λ_min, with x(ε) the largest δ² of unit variances: free of the dimension, for latents of equal covariance.

    Proof: along Σ⁻¹Δ both variances are 1 in units in which the means are δ apart, so that δ² ≤ x(ε); λ_min‖Δ‖² ≤ δ².

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats.
        inverse_min: λ_min, the smallest eigenvalue of the inverse *covariance*: of a Student-t law, (df − 2)/df times
            that of the inverse scale.

    Returns:
        A bound in squared units of the weights. For small ε it is the 2ε/λ_min of Gaussians.

    Raises:
        TheoryError: If ε is negative or NaN, or λ_min is not positive.

    Source: derived here; tests/theory/test_equation_16.py.
    """
    smallest = positive(inverse_min, "λ_min, the smallest eigenvalue of Σ⁻¹")
    value = furthest_means(epsilon, 1.0, 1.0) / smallest
    needed = (Assumption(text="the two latents have the same covariance"),)
    return _bound(value, {"ε": float(epsilon), "λ_min(Σ⁻¹)": smallest}, needed, "sharpened")


def _from_pinsker(epsilon: float, trace_p: float, trace_q: float, width: float, form: Form) -> Bound:
    constants = _constants(epsilon, trace_p, trace_q)
    s = min(1.0, math.sqrt(epsilon / 2))
    value = math.inf if s == 1 else times(width, s / (1 - s))
    return _bound(value, constants | {"s": s}, (Assumption(text="ε < 2 nats", holds=epsilon < 2),), form)


def _constants(epsilon: float, trace_p: float, trace_q: float) -> dict[str, float]:
    return {
        "ε": not_negative(epsilon, "ε, the divergence KL(P_ω‖P_ω̃)"),
        "tr Σ": not_negative(trace_p, "the trace of Σ"),
        "tr Σ̃": not_negative(trace_q, "the trace of Σ̃"),
    }


def _bound(value: float, constants: dict[str, float], needed: tuple[Assumption, ...], form: Form) -> Bound:
    return Bound(
        statement="Eq. (16)",
        form=form,
        side="upper",
        quantity="‖ω − ω̃‖² (AP2)",
        value=value,
        unit="squared units of the weights",
        constants=constants,
        assumptions=(
            *needed,
            Assumption(text="the weights are the means of the latents, and the variances those of their covariances"),
        ),
    )
