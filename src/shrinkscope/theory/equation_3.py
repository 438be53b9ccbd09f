"""Eq. (3): the Kullback–Leibler divergence of two Gaussian projections."""

from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import Covariance
from shrinkscope.divergence.relative import relative_scale
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.constants import squared_norm


def as_published(delta: Float[Tensor, " dim"], covariance: Covariance, compressed: Covariance) -> Bound:
    """½(log|Σ|/|Σ̃| + tr(Σ⁻¹Σ̃) + ΔᵀΣ⁻¹Δ − d), printed as KL(P_ω‖P_ω̃), in nats; it is KL(P_ω̃‖P_ω).

    Args:
        delta: Δ = ω − ω̃.
        covariance: Σ, of P_ω.
        compressed: Σ̃, of P_ω̃.

    Returns:
        The value on the right side of the equation. An equation is no bound; it is filed as an upper one.

    Raises:
        DivergenceError: If the sizes differ.

    Source: the paper's Eq. (3); tests/theory/test_equation_3.py compares with the matrices.
    """
    return _bound(gaussian_kl(-delta, compressed, covariance), delta, covariance, compressed, "published")


def corrected(delta: Float[Tensor, " dim"], covariance: Covariance, compressed: Covariance) -> Bound:
    """KL(P_ω‖P_ω̃) = ½(log|Σ̃|/|Σ| + tr(Σ̃⁻¹Σ) + ΔᵀΣ̃⁻¹Δ − d) in nats: the second covariance is inverted.

    Proof: log P_ω/P_ω̃ = ½(log|Σ̃|/|Σ| − (z−ω)ᵀΣ⁻¹(z−ω) + (z−ω̃)ᵀΣ̃⁻¹(z−ω̃)); under P_ω the expectation of the first
    quadratic form is d, and that of the second tr(Σ̃⁻¹Σ) + ΔᵀΣ̃⁻¹Δ.

    Args:
        delta: Δ = ω − ω̃.
        covariance: Σ, of P_ω.
        compressed: Σ̃, of P_ω̃.

    Returns:
        The divergence itself, filed as an upper bound. For Σ = Σ̃ it is what is printed.

    Raises:
        DivergenceError: If the sizes differ.

    Source: Kullback & Leibler (1951); tests/theory/test_equation_3.py.
    """
    return _bound(gaussian_kl(delta, covariance, compressed), delta, covariance, compressed, "corrected")


def _bound(value: Tensor, delta: Tensor, covariance: Covariance, compressed: Covariance, form: Form) -> Bound:
    same = float(relative_scale(covariance, compressed).remainder()) == 0
    needed = (Assumption(text="Σ = Σ̃ (else the printed direction is the other one)", holds=same),)
    return Bound(
        statement="Eq. (3)",
        form=form,
        side="upper",
        quantity="KL(P_ω‖P_ω̃), of Gaussian projections",
        value=float(value),
        unit="nats",
        constants={
            "d": float(covariance.dim),
            "log|Σ|": covariance.logdet(),
            "log|Σ̃|": compressed.logdet(),
            "‖Δ‖²": squared_norm(delta),
        },
        assumptions=needed if form == "published" else (),
    )
