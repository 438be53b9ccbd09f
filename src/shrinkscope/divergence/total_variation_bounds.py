"""Bounds on the total variation from what is exact: KL, the Hellinger distance, means and variances."""

import math
from collections.abc import Callable

from torch import Tensor

from shrinkscope.divergence.covariance import Covariance
from shrinkscope.divergence.distributions import Distribution, MultivariateGaussian, MultivariateStudentT
from shrinkscope.divergence.filed import hellinger, kl
from shrinkscope.divergence.registry import Divergence
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity


def pinsker(divergence: float) -> float:
    """Upper bound √(KL/2) on the total variation, at most 1.

    Args:
        divergence: KL(p‖q) or KL(q‖p) in nats.

    Returns:
        A difference of probabilities. It is informative below 2 nats.

    Source: Pinsker (1964), with Csiszár's constant; the paper's Definition 2.3.
    """
    return min(1.0, math.sqrt(divergence / 2))


def bretagnolle_huber(divergence: float) -> float:
    """Upper bound √(1 − e^(−KL)) on the total variation: below 1 however large KL is.

    Args:
        divergence: KL(p‖q) or KL(q‖p) in nats.

    Returns:
        A difference of probabilities, smaller than `pinsker` from 1.6 nats on.

    Source: Bretagnolle & Huber (1979), Lemma 2.1.
    """
    return math.sqrt(-math.expm1(-divergence))


def hellinger_lower(distance: float) -> float:
    """Lower bound H² on the total variation.

    Args:
        distance: Hellinger distance H, from 0 to 1.

    Returns:
        A difference of probabilities.

    Source: Le Cam (1969).
    """
    return distance * distance


def hellinger_upper(distance: float) -> float:
    """Upper bound H√(2 − H²) on the total variation.

    Args:
        distance: Hellinger distance H, from 0 to 1.

    Returns:
        A difference of probabilities.

    Source: Le Cam (1969).
    """
    return distance * math.sqrt(2 - distance * distance)


def mean_variance_lower(p: Distribution, q: Distribution) -> Quantity:
    """The paper's Lemma 2.5: TV ≥ ‖a‖²/(2(tr Σp + tr Σq) + ‖a‖²), with a the difference of the means.

    The traces grow with the dimension, so that in a layer of a million weights it says little: see
    `total_variation_lower`, which uses the same idea along the best direction.

    Args:
        p: First distribution; any that has a mean and a variance.
        q: Second distribution.

    Returns:
        A difference of probabilities. For Student-t laws the traces are those of the covariances df/(df − 2) Σ.

    Raises:
        DivergenceError: If the dimensions differ, or one has no mean or no finite variance.

    Source: Nishiyama (2022), as the paper's Lemma 2.5; squared and doubled it is the right side of Corollary 2.6.
    """
    if p.dim != q.dim:
        raise DivergenceError(f"distributions of dimensions {p.dim} and {q.dim}; expected equal ones")
    square = float((p.mean() - q.mean()).square().sum())
    return _bound(square / (2 * (p.total_variance() + q.total_variance()) + square))


@Divergence
def total_variation_upper(p: Distribution, q: Distribution) -> Quantity:
    """The smallest known upper bound on the total variation of p and q.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        Status ``bound``: the smallest of Pinsker's and Bretagnolle & Huber's bound from KL in either direction and
        Le Cam's from the Hellinger distance, as far as these exist for the pair. At most 1.

    Raises:
        DivergenceError: If none of them exists; the message says why.

    Source: see `pinsker`, `bretagnolle_huber`, `hellinger_upper`.
    """
    divergences, reasons = _existing(lambda: kl(p, q).value, lambda: kl(q, p).value)
    distances, _ = _existing(lambda: hellinger(p, q).value)
    if not divergences and not distances:
        raise DivergenceError(f"no upper bound on the total variation, because neither KL nor Hellinger: {reasons[0]}")
    bounds = [bound(value) for value in divergences for bound in (pinsker, bretagnolle_huber)]
    bounds += [hellinger_upper(value) for value in distances]
    return _bound(min(1.0, *bounds))


@Divergence
def total_variation_lower(p: Distribution, q: Distribution) -> Quantity:
    """The largest known lower bound on the total variation of p and q.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        Status ``bound``: the largest of Le Cam's bound from the Hellinger distance, the mean–variance bound
        ‖a‖²/(‖a‖² + (√tr Σp + √tr Σq)²), which is at least that of the paper's Lemma 2.5, and for Gaussian and
        Student-t laws the same for projections on single directions, where only the variances along them count.

    Raises:
        DivergenceError: If none of them exists; the message says why.

    Source: derived here: X ≠ Y has probability TV in the best coupling, and by Cauchy–Schwarz ‖a‖² = ‖E(X − Y)‖² is at
    most that times E‖X − Y‖²; tests/divergence/test_total_variation_bounds.py compares with exact values.
    """
    bounds, reasons = _existing(
        lambda: hellinger_lower(hellinger(p, q).value),
        lambda: _from_moments(
            float((p.mean() - q.mean()).square().sum()), math.sqrt(p.total_variance()), math.sqrt(q.total_variance())
        ),
        lambda: _best_direction(p, q),
    )
    if not bounds:
        raise DivergenceError(
            f"no lower bound on the total variation, because neither Hellinger nor moments: {reasons[1]}"
        )
    return _bound(max(bounds))


def _from_moments(square: float, first: float, second: float) -> float:
    """The bound from the squared distance of the means and the two root mean square deviations."""
    return square / (square + (first + second) ** 2)


def _best_direction(p: Distribution, q: Distribution) -> float:
    """The mean–variance bound for the projections on a, Σp⁻¹a and Σq⁻¹a; for equal Σ the last is the best of all."""
    (cov_p, factor_p), (cov_q, factor_q) = _covariance(p), _covariance(q)
    a = p.mean() - q.mean()
    if not bool(a.any()):
        return 0.0
    directions = (a / a.abs().max(), *(_direction(cov, a) for cov in (cov_p, cov_q)))
    return max(
        _from_moments(
            float(u @ a) ** 2,
            math.sqrt(factor_p * float(u @ cov_p.matmul(u))),
            math.sqrt(factor_q * float(u @ cov_q.matmul(u))),
        )
        for u in directions
    )


def _direction(covariance: Covariance, a: Tensor) -> Tensor:
    """Σ⁻¹a, scaled so that its squares neither over- nor underflow."""
    u = covariance.solve(a)
    return u / u.abs().max()


def _covariance(distribution: Distribution) -> tuple[Covariance, float]:
    """A matrix and the factor by which the covariance exceeds it.

    Raises:
        DivergenceError: If the distribution is none with a covariance operator.
    """
    if isinstance(distribution, MultivariateGaussian):
        return distribution.covariance, 1.0
    if isinstance(distribution, MultivariateStudentT):
        return distribution.scale, distribution.variance_factor()
    raise DivergenceError(f"{type(distribution).__name__} has no covariance operator")


def _existing(*candidates: Callable[[], float]) -> tuple[list[float], list[str]]:
    """Values of the candidates that exist, and why the others do not: any bound is valid without the others."""
    values, reasons = [], []
    for candidate in candidates:
        try:
            values.append(candidate())
        except DivergenceError as error:
            reasons.append(str(error))
    return values, reasons


def _bound(value: float) -> Quantity:
    return Quantity(value=value, unit="probability", status="bound")
