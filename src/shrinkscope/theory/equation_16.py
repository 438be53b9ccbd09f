"""Eq. (16): Corollary 2.6 read backwards, AP2 from AP3 for laws that have nothing but means and covariances."""

import math

from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative, times
from shrinkscope.theory.definition_2_3 import total_variation_from
from shrinkscope.theory.lemma_2_5 import spread


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

    Source: the paper's Eq. (16); tests/theory/test_equation_16.py has a pair that violates it.
    """
    return _bound(epsilon, _published_total_variation(epsilon), trace_p, trace_q, trace_p + trace_q, "published")


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
    return _bound(epsilon, _published_total_variation(epsilon), trace_p, trace_q, 2 * (trace_p + trace_q), "corrected")


def sharpened(*, epsilon: float, trace_p: float, trace_q: float) -> Bound:
    """‖ω − ω̃‖² ≤ (√tr Σ + √tr Σ̃)² s/(1 − s), with s the smaller of √(ε/2) and √(1 − e^(−ε)): finite for every ε.

    Args:
        epsilon: ε ≥ KL(P_ω‖P_ω̃), in nats.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.

    Returns:
        A bound in squared units of the weights, at most that of `corrected`.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here from the sharpened Lemma 2.5 and Bretagnolle & Huber (1979);
        tests/theory/test_equation_16.py.
    """
    return _bound(epsilon, total_variation_from(epsilon), trace_p, trace_q, spread(trace_p, trace_q), "sharpened")


def _published_total_variation(epsilon: float) -> float:
    return min(1.0, math.sqrt(not_negative(epsilon, "ε, the divergence KL(P_ω‖P_ω̃)") / 2))


def _bound(epsilon: float, s: float, trace_p: float, trace_q: float, width: float, form: Form) -> Bound:
    constants = {
        "ε": float(epsilon),
        "s": s,
        "tr Σ": not_negative(trace_p, "the trace of Σ"),
        "tr Σ̃": not_negative(trace_q, "the trace of Σ̃"),
    }
    # s rounds to 1 for ε above 37 nats although 1 − s = e^(−ε)/2 is positive: then, too, infinity is a bound.
    value = math.inf if s >= 1 else times(width, s / (1 - s))
    limit = () if form == "sharpened" else (Assumption(text="ε < 2 nats", holds=epsilon < 2),)
    return Bound(
        statement="Eq. (16)",
        form=form,
        side="upper",
        quantity="‖ω − ω̃‖² (AP2)",
        value=value,
        unit="squared units of the weights",
        constants=constants,
        assumptions=(
            *limit,
            Assumption(text="the traces are those of the covariances, and the weights are the means"),
        ),
    )
