"""Lemma 2.5: the total variation from the distance of the means."""

import math

from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative

_COVARIANCES = Assumption(
    text="the traces are those of the covariances (of a Student-t law, df/(df − 2) times the scale's)"
)


def as_published(*, squared_distance: float, trace_p: float, trace_q: float) -> Bound:
    """TV(P, Q) ≥ ‖a‖²/(2(tr Σ_P + tr Σ_Q) + ‖a‖²), a probability; it holds as printed.

    Args:
        squared_distance: ‖a‖², squared distance of the means.
        trace_p: tr Σ_P, the trace of the covariance; infinite where there is none.
        trace_q: tr Σ_Q.

    Returns:
        A lower bound on the total variation.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: the paper's Lemma 2.5, Nishiyama (2022); tests/theory/test_lemma_2_5.py.
    """
    return _from_spread(squared_distance, trace_p, trace_q, 2 * (trace_p + trace_q), "published")


def corrected(*, squared_distance: float, trace_p: float, trace_q: float) -> Bound:
    """The same as `as_published`, which is right for the traces of the covariances.

    Proof: in the best coupling P(X ≠ Y) = TV. By Cauchy–Schwarz ‖a‖² = ‖E(X − Y)1{X ≠ Y}‖² ≤ TV·E‖X − Y‖², and
    E‖X − Y‖² ≤ ‖a‖² + (√tr Σ_P + √tr Σ_Q)² ≤ ‖a‖² + 2(tr Σ_P + tr Σ_Q).

    Args:
        squared_distance: ‖a‖², squared distance of the means.
        trace_p: tr Σ_P, the trace of the covariance; infinite where there is none.
        trace_q: tr Σ_Q.

    Returns:
        A lower bound on the total variation.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: Nishiyama (2022); proof derived here; tests/theory/test_lemma_2_5.py.
    """
    return _from_spread(squared_distance, trace_p, trace_q, 2 * (trace_p + trace_q), "corrected")


def sharpened(*, squared_distance: float, trace_p: float, trace_q: float) -> Bound:
    """TV(P, Q) ≥ ‖a‖²/((√tr Σ_P + √tr Σ_Q)² + ‖a‖²): the best constant, attained by two laws on three points.

    Args:
        squared_distance: ‖a‖², squared distance of the means.
        trace_p: tr Σ_P, the trace of the covariance; infinite where there is none.
        trace_q: tr Σ_Q.

    Returns:
        A lower bound on the total variation, at least that of `as_published`.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here (see `corrected`); tests/theory/test_lemma_2_5.py has the pair that attains it.
    """
    return _from_spread(squared_distance, trace_p, trace_q, spread(trace_p, trace_q), "sharpened")


def sharpened_along_direction(*, squared_mahalanobis: float) -> Bound:
    """TV(P, Q) ≥ D²/(D² + 4): the same argument for one projection, the best one, instead of all coordinates at once.

    Proof: of X and Y only uᵀX and uᵀY are kept, which lowers TV; their variances are uᵀΣ_P u and uᵀΣ_Q u, and
    (√x + √y)² ≤ 2(x + y). The direction u = M⁻¹a with M = (Σ_P + Σ_Q)/2 gives aᵀM⁻¹a/(aᵀM⁻¹a + 4), the largest.

    Args:
        squared_mahalanobis: D² = aᵀM⁻¹a; for equal covariances δ² = aᵀΣ⁻¹a. It takes the covariances, too.

    Returns:
        A lower bound on the total variation, at least that of `as_published`. Unlike that it does not fade with the
        dimension: the traces grow with it and D² does not.

    Raises:
        TheoryError: If the squared Mahalanobis distance is negative or NaN.

    Source: derived here; tests/theory/test_lemma_2_5.py.
    """
    square = not_negative(squared_mahalanobis, "the squared Mahalanobis distance D²")
    return _bound(_ratio(square, 4.0), {"D²": square}, "sharpened")


def spread(trace_p: float, trace_q: float) -> float:
    """(√tr Σ_P + √tr Σ_Q)², the most that E‖X − Y‖² can exceed ‖E(X − Y)‖² by, in squared units."""
    first, second = not_negative(trace_p, "the trace of Σ_P"), not_negative(trace_q, "the trace of Σ_Q")
    return (math.sqrt(first) + math.sqrt(second)) ** 2


def _from_spread(squared_distance: float, trace_p: float, trace_q: float, width: float, form: Form) -> Bound:
    square = not_negative(squared_distance, "the squared distance of the means")
    constants = {
        "‖a‖²": square,
        "tr Σ_P": not_negative(trace_p, "the trace of Σ_P"),
        "tr Σ_Q": not_negative(trace_q, "the trace of Σ_Q"),
    }
    return _bound(_ratio(square, width), constants, form)


def _ratio(square: float, width: float) -> float:
    # Written so that an infinite distance gives 1, an infinite variance 0, and two equal point masses 0.
    return 0.0 if square == 0 or math.isinf(width) else 1 / (1 + width / square)


def _bound(value: float, constants: dict[str, float], form: Form) -> Bound:
    return Bound(
        statement="Lemma 2.5",
        form=form,
        side="lower",
        quantity="TV(P, Q)",
        value=value,
        unit="probability",
        constants=constants,
        assumptions=(_COVARIANCES,),
    )
