"""Divergences of Student-t laws: general KL, also with Gaussians; all others where scale and tails are shared."""

import math

from shrinkscope.divergence.distributions import MultivariateGaussian, MultivariateStudentT
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
from shrinkscope.divergence.gaussian_pairs import same_matrix
from shrinkscope.divergence.jensen_shannon_quadrature import student_t_jensen_shannon
from shrinkscope.divergence.optimal_transport import squared_bures
from shrinkscope.divergence.student_t import student_t_kl
from shrinkscope.divergence.student_t_affinity import log_affinity
from shrinkscope.divergence.student_t_general import general_student_t_kl
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity


def _shared(p: MultivariateStudentT, q: MultivariateStudentT) -> bool:
    return p.df == q.df and same_matrix(p.scale, q.scale)


def _distance(p: MultivariateStudentT, q: MultivariateStudentT, what: str) -> float:
    """δ = √(ΔᵀΣ⁻¹Δ) of two laws that differ by a shift only."""
    if not _shared(p, q):
        raise DivergenceError(
            f"the {what} of Student-t laws with different scales or degrees of freedom (here {p.df:g} and {q.df:g}) "
            f"has no exact form; expected equal ones (kl is exact for any two, total_variation_lower and _upper bounds)"
        )
    return math.sqrt(float(q.scale.quadratic(p.location - q.location)))


@kl.register(MultivariateStudentT, MultivariateStudentT)
def _kl(p: MultivariateStudentT, q: MultivariateStudentT) -> Quantity:
    if _shared(p, q):
        value = student_t_kl(_distance(p, q, "divergence"), dim=p.dim, df=p.df)
    else:
        value = general_student_t_kl(p.location - q.location, p.scale, q.scale, df_p=p.df, df_q=q.df)
    return Quantity(value=float(value), unit="nats")


@kl.register(MultivariateStudentT, MultivariateGaussian)
def _kl_to_gaussian(p: MultivariateStudentT, q: MultivariateGaussian) -> Quantity:
    value = general_student_t_kl(p.location - q.location, p.scale, q.covariance, df_p=p.df, df_q=math.inf)
    return Quantity(value=float(value), unit="nats")


@kl.register(MultivariateGaussian, MultivariateStudentT)
def _kl_from_gaussian(p: MultivariateGaussian, q: MultivariateStudentT) -> Quantity:
    value = general_student_t_kl(p.location - q.location, p.covariance, q.scale, df_p=math.inf, df_q=q.df)
    return Quantity(value=float(value), unit="nats")


@total_variation.register(MultivariateStudentT, MultivariateStudentT)
def _total_variation(p: MultivariateStudentT, q: MultivariateStudentT) -> Quantity:
    """2F(δ/2) − 1 with F the distribution function of t_ν on the line, in every dimension.

    p exceeds q on one side of the plane half-way between the centres, and the coordinate across it is t_ν. As an
    incomplete beta function it keeps the digits of small distances.

    Source: derived here; tests/divergence/test_student_t_pairs.py compares with integrals of |p − q|.
    """
    delta = _distance(p, q, "total variation")
    reach = delta / (2 * math.sqrt(p.df))
    share = (reach / math.hypot(1.0, reach)) ** 2
    from scipy.special import betainc  # only here, so that a comparison starts without it

    return Quantity(value=float(betainc(0.5, p.df / 2, share)), unit="probability")


@renyi.register(MultivariateStudentT, MultivariateStudentT)
def _renyi(p: MultivariateStudentT, q: MultivariateStudentT, order: float) -> Quantity:
    order = checked_order(order)
    if order == 1:
        return kl(p, q)
    delta = _distance(p, q, "Rényi divergence")
    return Quantity(value=log_affinity(delta, dim=p.dim, df=p.df, order=order) / (order - 1), unit="nats")


@chi_squared.register(MultivariateStudentT, MultivariateStudentT)
def _chi_squared(p: MultivariateStudentT, q: MultivariateStudentT) -> Quantity:
    return chi_squared_from_renyi(log_affinity(_distance(p, q, "χ²"), dim=p.dim, df=p.df, order=2.0))


@jensen_shannon.register(MultivariateStudentT, MultivariateStudentT)
def _jensen_shannon(p: MultivariateStudentT, q: MultivariateStudentT) -> Quantity:
    delta = _distance(p, q, "Jensen–Shannon divergence")
    return Quantity(value=student_t_jensen_shannon(delta, dim=p.dim, df=p.df), unit="nats")


@wasserstein2.register(MultivariateStudentT, MultivariateStudentT)
def _wasserstein2(p: MultivariateStudentT, q: MultivariateStudentT) -> Quantity:
    """The root of ‖Δ‖² plus df/(df − 2) times the squared Bures distance of the scales, for equal degrees of freedom.

    Source: Gelbrich (1990), Theorem 2.4, for laws that are affine images of one another.
    """
    shift = float((p.mean() - q.mean()).square().sum())
    if _shared(p, q):
        return Quantity(value=math.sqrt(shift), unit="weight")
    if p.df != q.df:
        raise DivergenceError(
            f"the 2-Wasserstein distance of Student-t laws with {p.df:g} and {q.df:g} degrees of freedom has no closed "
            f"form; expected equal degrees of freedom"
        )
    return Quantity(value=math.sqrt(shift + p.variance_factor() * squared_bures(p.scale, q.scale)), unit="weight")
