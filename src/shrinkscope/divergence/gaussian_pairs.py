"""Divergences of two Gaussians: closed forms for every structure of covariance, one integral for Jensen–Shannon."""

import math

import torch

from shrinkscope.divergence.covariance import DENSE_LIMIT, Covariance, Dense
from shrinkscope.divergence.distributions import MultivariateGaussian
from shrinkscope.divergence.divergences import (
    checked_order,
    chi_squared,
    chi_squared_from_renyi,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
    wasserstein2,
)
from shrinkscope.divergence.gaussian import gaussian_kl
from shrinkscope.divergence.jensen_shannon_quadrature import gaussian_jensen_shannon
from shrinkscope.divergence.logarithms import log1p_remainder
from shrinkscope.divergence.optimal_transport import squared_bures
from shrinkscope.divergence.relative import relative_scale
from shrinkscope.divergence.relative_scale import RelativeScale, Spectral
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity

_EDGE = 1e-8
"""Relative distance from the order at which ∫ p^α q^(1−α) starts to diverge, below which rounding would decide."""


def same_matrix(p: Covariance, q: Covariance) -> bool:
    """Whether two covariances are one object or one matrix, element by element as their structures allow to see.

    Args:
        p: First covariance.
        q: Second covariance, of the same dimension.

    Returns:
        True where Σq^(−½) Σp Σq^(−½) is the identity without any rounding.
    """
    return p is q or relative_scale(p, q).remainder() == 0.0


def distance(p: MultivariateGaussian, q: MultivariateGaussian, what: str) -> float:
    """δ = √(ΔᵀΣ⁻¹Δ) of two Gaussians with one covariance.

    Raises:
        DivergenceError: If the covariances differ.
    """
    if not same_matrix(p.covariance, q.covariance):
        raise DivergenceError(
            f"the {what} of two Gaussians with different covariances has no closed form; expected equal covariances "
            f"(total_variation_lower and total_variation_upper bound the total variation of any two)"
        )
    return math.sqrt(float(q.covariance.quadratic(p.location - q.location)))


@kl.register(MultivariateGaussian, MultivariateGaussian)
def _kl(p: MultivariateGaussian, q: MultivariateGaussian) -> Quantity:
    return Quantity(value=float(gaussian_kl(p.location - q.location, p.covariance, q.covariance)), unit="nats")


@total_variation.register(MultivariateGaussian, MultivariateGaussian)
def _total_variation(p: MultivariateGaussian, q: MultivariateGaussian) -> Quantity:
    """2Φ(δ/2) − 1, written as an error function, which keeps the digits of small distances."""
    return Quantity(value=math.erf(distance(p, q, "total variation") / math.sqrt(8)), unit="probability")


@jensen_shannon.register(MultivariateGaussian, MultivariateGaussian)
def _jensen_shannon(p: MultivariateGaussian, q: MultivariateGaussian) -> Quantity:
    return Quantity(value=gaussian_jensen_shannon(distance(p, q, "Jensen–Shannon divergence")), unit="nats")


@chi_squared.register(MultivariateGaussian, MultivariateGaussian)
def _chi_squared(p: MultivariateGaussian, q: MultivariateGaussian) -> Quantity:
    return chi_squared_from_renyi(_renyi(p, q, 2.0).value)


@wasserstein2.register(MultivariateGaussian, MultivariateGaussian)
def _wasserstein2(p: MultivariateGaussian, q: MultivariateGaussian) -> Quantity:
    shift = float((p.location - q.location).square().sum())
    spread = 0.0 if p.covariance is q.covariance else squared_bures(p.covariance, q.covariance)
    return Quantity(value=math.sqrt(shift + spread), unit="weight")


@renyi.register(MultivariateGaussian, MultivariateGaussian)
def _renyi(p: MultivariateGaussian, q: MultivariateGaussian, order: float) -> Quantity:
    """α/2 · Δᵀ(αΣq + (1 − α)Σp)⁻¹Δ + (log|αΣq + (1 − α)Σp| − (1 − α)log|Σp| − α log|Σq|)/(2(1 − α)).

    With the eigenvalues λ of Σq⁻¹Σp the second part is a sum of terms that are of second order where λ is close to 1.
    It exists where α + (1 − α)λ > 0 for all of them.

    Source: Gil, Alajaji & Linder (2013), Table 2; checked in tests/divergence/test_gaussian_pairs.py.
    """
    order = checked_order(order)
    if order == 1:
        return kl(p, q)
    relative = _relative(p.covariance, q.covariance, order)
    if relative is None:
        return Quantity(value=math.inf, unit="nats")
    rest, excess = 1 - order, torch.tensor(relative.mean_excess, dtype=torch.float64)
    weight = torch.tensor([rest / order * (1 + relative.mean_excess)], dtype=torch.float64)
    quadratic = float(relative.resolvent((p.location - q.location).unsqueeze(0))(weight))
    common = relative.dim * float(rest * log1p_remainder(excess) - log1p_remainder(rest * excess))
    shape = common + float(relative.compression(weight)) + rest * relative.centred_remainder()
    return Quantity(value=quadratic / 2 + max(shape / (2 * rest), 0.0), unit="nats")


def _relative(p: Covariance, q: Covariance, order: float) -> RelativeScale | None:
    """Σp seen from Σq, or None where ∫ p^order q^(1−order) diverges; above order 1 that takes the eigenvalues."""
    relative = relative_scale(p, q)
    if order < 1:
        return relative
    if not isinstance(relative, Spectral):
        if p.dim > DENSE_LIMIT:
            raise DivergenceError(
                f"orders above 1 need the eigenvalues of {p!r} seen from {q!r}, which are computed up to dimension "
                f"{DENSE_LIMIT}; expected an order below 1, or covariances that are diagonal in one basis"
            )
        relative = relative_scale(Dense(p.dense()), Dense(q.dense()))
        assert isinstance(relative, Spectral)
    margin = 1 - (order - 1) / order * float(relative.eigenvalues.max())
    if abs(margin) < _EDGE:
        raise DivergenceError(
            f"order {order:g} is within {_EDGE:g} of the largest order for which the divergence is finite; expected an "
            f"order further from {order:g}"
        )
    return relative if margin > 0 else None
