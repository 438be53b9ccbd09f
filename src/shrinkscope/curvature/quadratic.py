"""½ΔᵀHΔ: what the loss changes along a difference of weights, to second order."""

import msgspec

from shrinkscope.curvature.base import Curvature, Delta
from shrinkscope.quantity import Quantity


class QuadraticForm(msgspec.Struct, frozen=True, kw_only=True):
    """½ΔᵀHΔ of a mean loss, and the first-order term beside it.

    Attributes:
        form: ½ΔᵀHΔ, exact for the samples; the standard error is over samples.
        slope: ∇ℓᵀΔ, exact for the samples; the standard error is over samples.
        squared_norm: ‖Δ‖², in squared weights.
        samples: Number of samples.
        dimension: Number of weights.
    """

    form: Quantity
    slope: Quantity
    squared_norm: float
    samples: int
    dimension: int


def quadratic_form(curvature: Curvature, delta: Delta) -> QuadraticForm:
    """½ΔᵀHΔ and ∇ℓᵀΔ in units of the loss, exact for the samples given, each with its standard error over samples.

    Args:
        curvature: The matrix H, at the weights from which the loss is expanded.
        delta: Δ: name → tensor (names left out do not move), or a flat vector.

    Returns:
        Both terms: second derivative and slope of each sample's loss along Δ, averaged.

    Raises:
        CurvatureError: If Δ does not fit the weights, or torch lacks a derivative.

    Source: paper, Eq. (15), with the first-order term that it leaves out (math.md, section 4).
    """
    direction = curvature.flat(delta)
    bends = curvature.along(direction[None])[0] / 2
    slopes = curvature.slopes(direction)
    return QuadraticForm(
        form=_mean(bends, curvature.unit),
        slope=_mean(slopes, curvature.unit),
        squared_norm=float(direction @ direction),
        samples=curvature.samples,
        dimension=curvature.dimension,
    )


def _mean(values, unit: str) -> Quantity:
    error = float(values.std(correction=1)) / len(values) ** 0.5 if len(values) > 1 else None
    return Quantity(value=float(values.mean()), unit=unit, status="estimate", standard_error=error)
