"""Eq. (5): AP3 implies AP2 for Gaussian projections of equal covariance."""

from shrinkscope.divergence.covariance import Covariance
from shrinkscope.theory.bound import Assumption, Bound
from shrinkscope.theory.checks import not_negative
from shrinkscope.theory.constants import inverse_extremes


def as_published(quadratic: float, covariance: Covariance) -> Bound:
    """ΔᵀΣ⁻¹Δ, printed as an upper bound on ‖Δ‖² where all eigenvalues of Σ are at least 1.

    Args:
        quadratic: ΔᵀΣ⁻¹Δ, twice the divergence in nats.
        covariance: Σ.

    Returns:
        A bound in squared units of the weights; its assumption is the one in print, which is the wrong way round.

    Raises:
        TheoryError: If the quadratic form is negative or NaN.

    Source: the paper's Eq. (5) and the text above it; tests/theory/test_equation_5.py has a Σ that violates it.
    """
    smallest, largest = inverse_extremes(covariance)
    return Bound(
        statement="Eq. (5)",
        form="published",
        side="upper",
        quantity="‖ω − ω̃‖² (AP2)",
        value=not_negative(quadratic, "ΔᵀΣ⁻¹Δ"),
        unit="squared units of the weights",
        constants={"ΔᵀΣ⁻¹Δ": quadratic, "λ_min(Σ⁻¹)": smallest, "λ_max(Σ⁻¹)": largest},
        assumptions=(Assumption(text="all eigenvalues of Σ are at least 1", holds=largest <= 1),),
    )


def corrected(quadratic: float, covariance: Covariance) -> Bound:
    """ΔᵀΣ⁻¹Δ/λ_min, an upper bound on ‖Δ‖² for every Σ; it is at most ΔᵀΣ⁻¹Δ if all eigenvalues of Σ are at most 1.

    Proof: λ_min‖Δ‖² ≤ ΔᵀΣ⁻¹Δ, with λ_min the smallest eigenvalue of Σ⁻¹; λ_min ≥ 1 means that Σ has none above 1.

    Args:
        quadratic: ΔᵀΣ⁻¹Δ, twice the divergence in nats.
        covariance: Σ.

    Returns:
        A bound in squared units of the weights, attained where Δ is an eigenvector of λ_min.

    Raises:
        TheoryError: If the quadratic form is negative or NaN.

    Source: derived here; tests/theory/test_equation_5.py.
    """
    smallest = inverse_extremes(covariance)[0]
    return Bound(
        statement="Eq. (5)",
        form="corrected",
        side="upper",
        quantity="‖ω − ω̃‖² (AP2)",
        value=not_negative(quadratic, "ΔᵀΣ⁻¹Δ") / smallest,
        unit="squared units of the weights",
        constants={"ΔᵀΣ⁻¹Δ": quadratic, "λ_min(Σ⁻¹)": smallest},
    )
