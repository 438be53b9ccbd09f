r"""Kullback–Leibler divergence of any two multivariate Student-t distributions, Gaussians included, by one integral.

Write p = t_ν(μp, Σp), q = t_κ(μq, Σq), d for the dimension, λ and λ̄ for the eigenvalues of Σq⁻¹Σp and their mean. The
intermediate law t_κ(μp, Σp/λ̄) splits the divergence into two parts, of which nothing larger is ever subtracted:

* KL(t_ν(0, λ̄I) ‖ t_κ(0, I)), the tails and the common scale: see ``radial``;
* ½ Σ log(λ̄/λ) + (κ + d)/2 · E log((κ + Qq)/(κ + Q)), with Qq and Q the squared distances of x ~ p from q's centre and
  from the intermediate law's.

Given the precision g ~ Gamma(ν/2, rate ν/2) under which x is Gaussian, log(y/z) = ∫ (e^(−az/2) − e^(−ay/2)) da/a turns
the second expectation into Gaussian and Gamma integrals that have closed forms. What is left, with m and R as in
``relative_scale`` and a in units of 1/λ̄, is one-dimensional in any dimension:

.. math:: E \log\frac{\kappa + Q_q}{\kappa + Q} = \int_0^\infty \varphi(a)\,\bigl(1 - e^{-D(a)}\bigr)\,\frac{da}{a},

.. math:: \varphi(a) = (1 + a)^{-d/2} \Bigl(1 + \frac{a\kappa}{\bar\lambda\nu}\Bigr)^{-\nu/2},

.. math:: D(a) = \tfrac12 \sum_i \log\frac{1 + a\lambda_i/\bar\lambda}{1 + a}
          + \tfrac{\nu}{2} \log\Bigl(1 + \frac{a\,m^T(I + aR/\bar\lambda)^{-1}m}{\bar\lambda\nu + a\kappa}\Bigr).

With a = eᵘ the integrand is analytic for |Im u| < π, and both exponentials stay below 1 for |Im u| ≤ π/2: the
trapezoidal rule with step h is off by a multiple of e^(−π²/h) (h = 0.2: 4e-22), whatever dimension, scales and shift.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance import Covariance
from shrinkscope.divergence.radial import radial_kl
from shrinkscope.divergence.relative import relative_scale, squared_distance
from shrinkscope.divergence.relative_scale import RelativeScale
from shrinkscope.errors import DivergenceError

TOLERANCE = 1e-8
"""Relative error above which no value is returned."""

_STEP = 0.2
_NEGLIGIBLE = 45.0
_EPSILON = 2.2e-16


def general_student_t_kl(
    delta: Float[Tensor, "*batch dim"],
    scale_p: Covariance,
    scale_q: Covariance | None = None,
    *,
    df_p: int | float,
    df_q: int | float | None = None,
) -> Float[Tensor, "*batch"]:
    """KL(t_{df_p}(μp, Σp) ‖ t_{df_q}(μq, Σq)) in nats; degrees of freedom may be infinite, which is a Gaussian.

    Args:
        delta: μp − μq, in the units of the means; any number of leading dimensions.
        scale_p: Σp, the *scale* of the first distribution: its covariance is df_p/(df_p − 2) Σp, for df_p > 2.
        scale_q: Σq, the scale of the second distribution; that of the first by default.
        df_p: Degrees of freedom of the first distribution, positive or ``math.inf``.
        df_q: Degrees of freedom of the second distribution; those of the first by default.

    Returns:
        Divergences, float64, one for each difference, with a relative error below ``TOLERANCE`` (typically 1e-13; the
        conditioning of dense scales comes on top, see `gaussian_kl`). Infinite, and exactly so, for a Gaussian second
        distribution and df_p ≤ 2, where the first has no variance. Differentiable in delta.

    Raises:
        DivergenceError: If degrees of freedom are not positive, the dimensions differ, the means are not finite, the
            scales are too large and of unlike structure, or the estimated numerical error exceeds ``TOLERANCE``.

    Source: derived here from the mixture representation, in docs/divergences.md. Checked in
    tests/divergence/test_student_t_general.py against direct integration, against the series of Bouhlel & Rousseau
    (2023, doi 10.1109/LSP.2023.3324594) for equal locations, and against sampling.
    """
    df_p, df_q = _checked_df(df_p, "df_p"), _checked_df(df_p if df_q is None else df_q, "df_q")
    scale_q = scale_p if scale_q is None else scale_q
    relative = relative_scale(scale_p, scale_q)
    differences = scale_q.vector(delta).reshape(-1, relative.dim)
    quadratic = squared_distance(scale_q, differences)
    if len(differences) == 0:
        return quadratic.reshape(delta.shape[:-1])
    if math.isinf(df_q) and df_p <= 2:
        return torch.full(delta.shape[:-1], math.inf, dtype=torch.float64, device=delta.device)
    fixed, error = _equal_locations(relative, df_p, df_q)
    if math.isinf(df_q):
        value, errors = fixed + quadratic / 2, error + 8 * _EPSILON * quadratic.detach()
    else:
        shift, errors = _shifted(relative, differences, float(quadratic.detach().max()), df_p, df_q)
        value, errors = fixed + shift, error + errors
    _refuse_inaccurate(value.detach(), errors)
    return value.reshape(delta.shape[:-1])


def _equal_locations(relative: RelativeScale, df_p: float, df_q: float) -> tuple[float, float]:
    """The terms without the integral, and their error."""
    radial, error = radial_kl(relative.dim, df_p, df_q, relative.mean_excess)
    centred = relative.centred_remainder()
    return radial + centred / 2, error + 8 * _EPSILON * centred


def _shifted(
    relative: RelativeScale, delta: Tensor, farthest: float, df_p: float, df_q: float
) -> tuple[Tensor, Tensor]:
    """(κ + d)/2 times the integral, for each difference of the means, and its error."""
    scale, resolvent = 1 + relative.mean_excess, relative.resolvent(delta)
    low = -_NEGLIGIBLE - math.log(1 + relative.dim + (df_q + farthest) / scale)
    high = _upper_end(relative, low, df_p, df_q)
    u = _STEP * torch.arange(math.floor(low / _STEP), math.ceil(high / _STEP) + 1, dtype=torch.float64)
    a = u.exp()
    terms = _integrand(relative, resolvent(a), a, df_p, df_q)
    weight = (df_q + relative.dim) / 2 * _STEP
    fine = weight * terms.sum(-1)
    with torch.no_grad():
        size = weight * terms.abs().sum(-1)
        change = 2 * weight * terms[..., ::2].sum(-1) - fine
        # The rule's error is at least squared when the step is halved; terms are accurate to about 30 ε.
        errors = change.square() / size.clamp(min=1e-300) + 32 * _EPSILON * size
    return fine, errors


def _integrand(relative: RelativeScale, quadratic: Tensor, a: Tensor, df_p: float, df_q: float) -> Tensor:
    """φ(a)(1 − e^(−D(a))), shape (batch, nodes), without overflow where D is very negative and φ very small."""
    scale = 1 + relative.mean_excess
    if math.isinf(df_p):
        shift = a * quadratic / (2 * scale)
    else:
        shift = df_p / 2 * (a * quadratic / (scale * df_p + a * df_q)).log1p()
    exponent = relative.compression(a) / 2 + shift
    log_weight = _log_weight(relative, a, df_p, df_q)
    rising = torch.where(exponent < 0, exponent, 0)
    falling = torch.where(exponent < 0, 0, exponent)
    return torch.where(
        exponent < 0, (log_weight - rising).exp() * rising.expm1(), -log_weight.exp() * (-falling).expm1()
    )


def _upper_end(relative: RelativeScale, low: float, df_p: float, df_q: float) -> float:
    """The u from which on both exponentials are negligible: the larger one, φ·e^(−D) without a shift, falls with u."""
    u = torch.arange(low + _NEGLIGIBLE - 2, 2 * _NEGLIGIBLE, 2.0, dtype=torch.float64)
    a = u.exp()
    logarithm = _log_weight(relative, a, df_p, df_q) - relative.compression(a) / 2
    negligible = u[logarithm < -_NEGLIGIBLE]
    return float(negligible[0]) if len(negligible) else 2 * _NEGLIGIBLE


def _log_weight(relative: RelativeScale, a: Tensor, df_p: float, df_q: float) -> Tensor:
    """The logarithm of φ."""
    scale = 1 + relative.mean_excess
    tail = a * df_q / (2 * scale) if math.isinf(df_p) else df_p / 2 * (a * df_q / (scale * df_p)).log1p()
    return -relative.dim / 2 * a.log1p() - tail


def _checked_df(df: int | float, name: str) -> float:
    if not df > 0:
        raise DivergenceError(f"{name} is {df}; expected positive degrees of freedom, math.inf for a Gaussian")
    return float(df)


def _refuse_inaccurate(values: Tensor, errors: Tensor) -> None:
    wrong = ~(errors <= TOLERANCE * values)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise DivergenceError(
            f"divergence {float(values[first]):.3g} of difference {first} is uncertain by {float(errors[first]):.1g}; "
            f"expected a relative error of {TOLERANCE:g}: the terms cancel too much for double precision"
        )
