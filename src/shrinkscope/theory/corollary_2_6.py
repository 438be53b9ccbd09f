"""Corollary 2.6: the Kullback–Leibler divergence from the distance of the means."""

from shrinkscope.theory import lemma_2_5
from shrinkscope.theory.bound import Bound, Form
from shrinkscope.theory.moments import least_divergence


def as_published(*, squared_distance: float, trace_p: float, trace_q: float) -> Bound:
    """KL(P‖Q) ≥ 2(‖a‖²/(2(tr Σ_P + tr Σ_Q) + ‖a‖²))², in nats; it holds as printed, and never exceeds 2.

    Args:
        squared_distance: ‖a‖², squared distance of the means.
        trace_p: tr Σ_P, the trace of the covariance; infinite where there is none.
        trace_q: tr Σ_Q.

    Returns:
        A lower bound on KL(P‖Q).

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: the paper's Corollary 2.6; tests/theory/test_corollary_2_6.py.
    """
    lemma = lemma_2_5.as_published(squared_distance=squared_distance, trace_p=trace_p, trace_q=trace_q)
    return _bound(lemma, 2 * lemma.value**2, "published")


def corrected(*, squared_distance: float, trace_p: float, trace_q: float) -> Bound:
    """The same as `as_published`, which is right: Pinsker's inequality after Lemma 2.5.

    It holds for each single pair, so that the tightest ε of Definition 2.2 that can be used with it is the divergence
    itself. What is wrong in print is what is made of it, Eq. (16).

    Args:
        squared_distance: ‖a‖², squared distance of the means.
        trace_p: tr Σ_P, the trace of the covariance; infinite where there is none.
        trace_q: tr Σ_Q.

    Returns:
        A lower bound on KL(P‖Q) in nats.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: Lemma 2.5 and Definition 2.3; tests/theory/test_corollary_2_6.py.
    """
    lemma = lemma_2_5.corrected(squared_distance=squared_distance, trace_p=trace_p, trace_q=trace_q)
    return _bound(lemma, 2 * lemma.value**2, "corrected")


def sharpened(*, squared_distance: float, trace_p: float, trace_q: float) -> Bound:
    """The least divergence of all laws with these means and traces, in nats: without limit as ‖a‖² grows.

    Pinsker's inequality loses the first order: for equal variances this is ‖a‖²/(2A) for small ‖a‖², which is what
    Gaussians have, where the printed form is of the order ‖a‖⁴. For any vector u, (uᵀa)², uᵀΣ_P u and uᵀΣ_Q u may
    be given instead, the projections on it.

    Args:
        squared_distance: ‖a‖², squared distance of the means.
        trace_p: tr Σ_P, the trace of the covariance; infinite where there is none.
        trace_q: tr Σ_Q.

    Returns:
        A lower bound on KL(P‖Q), at least that of `as_published`.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: Nishiyama & Sason (2020), see `least_divergence`; tests/theory/test_corollary_2_6.py.
    """
    lemma = lemma_2_5.sharpened(squared_distance=squared_distance, trace_p=trace_p, trace_q=trace_q)
    return _bound(lemma, least_divergence(squared_distance, trace_p, trace_q), "sharpened")


def sharpened_equal_covariance(*, squared_mahalanobis: float) -> Bound:
    """The same along the direction Σ⁻¹a, for laws of equal covariance, in nats: it does not fade with the dimension.

    Args:
        squared_mahalanobis: δ² = aᵀΣ⁻¹a with the covariance Σ of both laws.

    Returns:
        A lower bound on KL(P‖Q): 2y·artanh y with y² = δ²/(δ² + 4), which is δ²/2 for small δ.

    Raises:
        TheoryError: If the squared Mahalanobis distance is negative or NaN.

    Source: `sharpened` for the projections on Σ⁻¹a; tests/theory/test_corollary_2_6.py.
    """
    lemma = lemma_2_5.sharpened_along_direction(squared_mahalanobis=squared_mahalanobis)
    return _bound(lemma, least_divergence(squared_mahalanobis, 1.0, 1.0), "sharpened")


def _bound(lemma: Bound, value: float, form: Form) -> Bound:
    return Bound(
        statement="Corollary 2.6",
        form=form,
        side="lower",
        quantity="KL(P‖Q)",
        value=value,
        unit="nats",
        constants=lemma.constants | {"TV": lemma.value},
        assumptions=lemma.assumptions,
    )
