"""The least divergence that two laws of given means and variances can have, and what it leaves of the means."""

import math

from shrinkscope.theory.checks import not_negative


def least_divergence(squared_distance: float, variance_p: float, variance_q: float) -> float:
    """The least KL(P‖Q), in nats, of laws whose means are ‖a‖ apart and whose variances are A and B.

    Proof: for R_λ = (1 − λ)P + λQ, KL(P‖Q) = ∫₀¹ χ²(P‖R_λ) dλ/λ, and by Cauchy–Schwarz χ²(P‖R_λ) is at least the
    squared distance λ²‖a‖² of the means over the variance (1 − λ)A + λB + λ(1 − λ)‖a‖² of R_λ. Two-point laws attain
    this; the integral is their divergence, p·log(p/q) + (1 − p)·log((1 − p)/(1 − q)), with
    (p − q)² = x²/(x² + 2x(A + B) + (A − B)²) for x = ‖a‖². In several dimensions it is used along the direction of a,
    where variances are at most the traces; the integrand falls as these grow. It also grows with x.

    Args:
        squared_distance: x = ‖a‖², squared distance of the means.
        variance_p: A, the variance of P along a, or any upper bound on it, such as the trace; may be infinite.
        variance_q: B, that of Q.

    Returns:
        A lower bound on KL(P‖Q), attained. To rounding; it is at least 2(p − q)² ≥ 2(x/(x + A + B))².

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: Nishiyama & Sason (2020), Entropy 22(5):563, Theorem 2; tests/theory/test_moments.py.
    """
    square = not_negative(squared_distance, "the squared distance of the means")
    first, second = not_negative(variance_p, "the variance of P"), not_negative(variance_q, "the variance of Q")
    if square == 0 or math.isinf(first) or math.isinf(second):
        return 0.0
    if second == 0 or math.isinf(square):
        return math.inf
    # In units of ‖a‖ nothing over- or underflows before its share has become negligible.
    first, second = first / square, second / square
    if max(first, second) > 1e150:
        return 0.0
    length = math.sqrt(1 + 2 * (first + second) + (first - second) ** 2)
    p, not_p = _roots(0.5 + (1 + second - first) / (2 * length), first / length**2)
    not_q, q = _roots(0.5 + (1 + first - second) / (2 * length), second / length**2)
    return _side(p, q, 1 / length) + _side(not_p, not_q, -1 / length)


def furthest_means(divergence: float, variance_p: float, variance_q: float) -> float:
    """The largest squared distance of the means of laws with variances A and B whose KL(P‖Q) is at most ε.

    Args:
        divergence: ε, in nats.
        variance_p: A, the variance of P along the difference of the means, or any upper bound on it.
        variance_q: B, that of Q.

    Returns:
        An upper bound on ‖a‖², in squared units; attained. It is about 2ε·A for small ε and equal variances, and finite
        for every ε that leaves it below the largest float.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: the inverse of `least_divergence`; tests/theory/test_moments.py.
    """
    limit = not_negative(divergence, "ε, the divergence KL(P‖Q)")
    first, second = not_negative(variance_p, "the variance of P"), not_negative(variance_q, "the variance of Q")
    if math.isinf(limit) or math.isinf(first) or math.isinf(second):
        return math.inf
    if limit == 0 or second == 0:
        return 0.0

    def excess(logarithm: float) -> float:
        return least_divergence(math.exp(logarithm), first, second) - limit

    low = high = math.log(second)
    while excess(high) < 0:
        high += 2.0
        if high > 700:  # the square root of what floats hold: the bound says nothing
            return math.inf
    while excess(low) > 0:
        low -= 2.0
        if low < -700:  # below the smallest squares
            return math.exp(low)
    from scipy.optimize import root_scalar  # only here, so that a comparison starts without it

    root = low if low == high else root_scalar(excess, bracket=(low, high), xtol=1e-13, rtol=1e-13).root
    return math.exp(root) * (1 + 1e-9)  # upwards, so that rounding does not break the bound


def _roots(root: float, product: float) -> tuple[float, float]:
    """A probability p and 1 − p, from an estimate of p and p(1 − p): the smaller one is not a difference."""
    return (root, product / root) if root >= 0.5 else (product / (1 - root), 1 - root)


def _side(p: float, q: float, gap: float) -> float:
    """p·log(p/q) − (p − q), which is not negative, from gap = p − q."""
    if p == 0:
        return -gap
    if q == 0:
        return math.inf
    u = -gap / p
    if abs(u) > 0.5:  # where 1 + u = q/p would cancel
        return p * math.log(p / q) - gap
    # u − log(1 + u), whose two terms cancel for small u; nine terms of its series leave 1e-18 of it.
    return p * (u - math.log1p(u) if abs(u) > 1e-2 else math.fsum((-u) ** k / k for k in range(2, 11)))
