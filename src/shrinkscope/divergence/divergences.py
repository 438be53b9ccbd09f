"""The divergences of the package: what each is, in which unit; formulas are filed from the modules of the families."""

import math

from shrinkscope.divergence.distributions import Distribution
from shrinkscope.divergence.registry import Divergence
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity


@Divergence
def kl(p: Distribution, q: Distribution) -> Quantity:
    """Kullback–Leibler divergence KL(p‖q) = E_p log(p/q), in nats.

    Args:
        p: Distribution over which the mean is taken.
        q: Distribution compared with it, of the same dimension.

    Returns:
        From 0 to infinity; infinite, exactly, where p has mass that q has not (two boxes, neither inside the other).

    Raises:
        DivergenceError: If the dimensions differ, the pair of types is unknown, or the accuracy cannot be vouched for.

    Source: Kullback & Leibler (1951); the paper's Definition 2.2.
    """
    raise kl.unknown(p, q)


@Divergence
def total_variation(p: Distribution, q: Distribution) -> Quantity:
    """Total variation sup_A |P(A) − Q(A)| = ½∫|p − q|, a difference of probabilities.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        From 0 to 1, symmetric, exact. For pairs without an exact value see `total_variation_lower` and
        `total_variation_upper`.

    Raises:
        DivergenceError: If the dimensions differ or there is no exact value for the pair.

    Source: the paper's Definition 2.4.
    """
    raise total_variation.unknown(p, q)


@Divergence
def chi_squared(p: Distribution, q: Distribution) -> Quantity:
    """Pearson's divergence χ²(p‖q) = ∫ p²/q − 1, without unit.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension: the one divided by.

    Returns:
        From 0 to infinity; infinite, exactly, where the integral diverges.

    Raises:
        DivergenceError: If the dimensions differ, the pair of types is unknown, or the value is beyond float64.

    Source: Pearson (1900).
    """
    raise chi_squared.unknown(p, q)


@Divergence
def renyi(p: Distribution, q: Distribution, order: float) -> Quantity:
    """Rényi divergence of a given order, 1/(order − 1) · log ∫ p^order q^(1−order), in nats.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.
        order: Positive and finite; order 1 is the limit, KL(p‖q).

    Returns:
        From 0 to infinity, not decreasing in the order; infinite, exactly, where the integral diverges (order > 1) or
        vanishes (order < 1).

    Raises:
        DivergenceError: If the order is out of range, the dimensions differ, the pair of types is unknown, or the
            accuracy cannot be vouched for.

    Source: Rényi (1961); van Erven & Harremoës (2014).
    """
    raise renyi.unknown(p, q)


@Divergence
def bhattacharyya(p: Distribution, q: Distribution) -> Quantity:
    """Bhattacharyya distance −log ∫ √(pq), in nats: half the Rényi divergence of order ½.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        From 0 to infinity, symmetric.

    Raises:
        DivergenceError: As `renyi`.

    Source: Bhattacharyya (1943).
    """
    half = renyi(p, q, 0.5)
    return Quantity(value=half.value / 2, unit="nats", status=half.status)


@Divergence
def hellinger(p: Distribution, q: Distribution) -> Quantity:
    """Hellinger distance √(1 − ∫√(pq)), without unit.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        From 0 to 1, symmetric; a metric.

    Raises:
        DivergenceError: As `bhattacharyya`, from which it is computed.

    Source: Hellinger (1909), with the normalisation that gives 1 for distributions without common mass.
    """
    distance = bhattacharyya(p, q)
    return Quantity(value=math.sqrt(-math.expm1(-distance.value)), unit="1", status=distance.status)


@Divergence
def jensen_shannon(p: Distribution, q: Distribution) -> Quantity:
    """Jensen–Shannon divergence ½KL(p‖m) + ½KL(q‖m) with m = (p + q)/2, in nats.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        From 0 to log 2, symmetric; the square of a metric.

    Raises:
        DivergenceError: If the dimensions differ, the pair has no exact value, or the accuracy cannot be vouched for.

    Source: Lin (1991).
    """
    raise jensen_shannon.unknown(p, q)


@Divergence
def wasserstein2(p: Distribution, q: Distribution) -> Quantity:
    """2-Wasserstein distance: the least root mean square distance of X ~ p and Y ~ q over all couplings.

    Args:
        p: First distribution.
        q: Second distribution, of the same dimension.

    Returns:
        From 0 to infinity, symmetric, in the units of the weights. Its square is AP2 = ‖Δ‖² for two distributions that
        differ by a shift Δ only, whatever their shape.

    Raises:
        DivergenceError: If the dimensions differ, the pair of types is unknown, or a law has no variance.

    Source: Givens & Shortt (1984); Gelbrich (1990) for elliptical laws.
    """
    raise wasserstein2.unknown(p, q)


def checked_order(order: float) -> float:
    """The order of a Rényi divergence, after a check that it is positive and finite.

    Raises:
        DivergenceError: If it is not.
    """
    if not 0 < order < math.inf:
        raise DivergenceError(f"order is {order}; expected a positive finite order (1 is the limit, KL)")
    return float(order)


def chi_squared_from_renyi(log_integral: float) -> Quantity:
    """χ² from log ∫ p²/q, the Rényi divergence of order 2.

    Raises:
        DivergenceError: If χ² is finite but exceeds the largest float64.
    """
    if 709 < log_integral < math.inf:
        raise DivergenceError(
            f"χ² is e^{log_integral:.10g}, more than the largest float64; expected closer distributions, or use "
            f"renyi(p, q, 2), which is log(1 + χ²)"
        )
    return Quantity(value=math.expm1(log_integral), unit="1")
