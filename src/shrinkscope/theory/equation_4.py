"""Eq. (4): AP2 implies AP3 for Gaussian projections."""

from shrinkscope.divergence.covariance import Covariance
from shrinkscope.divergence.relative import relative_scale
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative
from shrinkscope.theory.constants import inverse_extremes


def as_published(epsilon: float, covariance: Covariance, compressed: Covariance) -> Bound:
    """½(C + λ_max ε) nats, with C and λ_max of Σ⁻¹ as Eq. (3) is printed.

    Args:
        epsilon: AP2 of the layer, ‖ω − ω̃‖² ≤ ε.
        covariance: Σ, of P_ω.
        compressed: Σ̃, of P_ω̃.

    Returns:
        An upper bound on KL(P_ω‖P_ω̃), valid for Σ = Σ̃ only.

    Raises:
        TheoryError: If ε is negative or NaN.
        DivergenceError: If the sizes differ.

    Source: the paper's Eq. (4); tests/theory/test_equation_4.py has a pair that violates it.
    """
    return _bound(epsilon, compressed, covariance, "published")


def corrected(epsilon: float, covariance: Covariance, compressed: Covariance) -> Bound:
    """½(C + λ_max ε) nats, with C = log|Σ̃|/|Σ| + tr(Σ̃⁻¹Σ) − d and λ_max the largest eigenvalue of Σ̃⁻¹.

    Proof: the corrected Eq. (3), and ΔᵀΣ̃⁻¹Δ ≤ λ_max‖Δ‖². The equality of the covariances is not "without loss of
    generality": C is 0 only then.

    Args:
        epsilon: AP2 of the layer, ‖ω − ω̃‖² ≤ ε.
        covariance: Σ, of P_ω.
        compressed: Σ̃, of P_ω̃.

    Returns:
        An upper bound on KL(P_ω‖P_ω̃), attained where Δ is an eigenvector of λ_max.

    Raises:
        TheoryError: If ε is negative or NaN.
        DivergenceError: If the sizes differ.

    Source: derived here; tests/theory/test_equation_4.py.
    """
    return _bound(epsilon, covariance, compressed, "corrected")


def _bound(epsilon: float, first: Covariance, second: Covariance, form: Form) -> Bound:
    epsilon = not_negative(epsilon, "ε, the squared distance of the weights (AP2)")
    constant = float(relative_scale(first, second).remainder())
    largest = inverse_extremes(second)[1]
    needed = (Assumption(text="Σ = Σ̃", holds=constant == 0),)
    return Bound(
        statement="Eq. (4)",
        form=form,
        side="upper",
        quantity="KL(P_ω‖P_ω̃), of Gaussian projections",
        value=(constant + largest * epsilon) / 2,
        unit="nats",
        constants={"ε": epsilon, "C": constant, "λ_max(Σ⁻¹)" if form == "published" else "λ_max(Σ̃⁻¹)": largest},
        assumptions=needed if form == "published" else (),
    )
