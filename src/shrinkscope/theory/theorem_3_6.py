"""Theorem 3.6: the performance difference of a sparse network in the middle of its training."""

import math

from shrinkscope.theory import equation_16
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import finite, not_negative, positive, times
from shrinkscope.theory.taylor import published_assumptions, second_order, second_order_assumptions


def as_published(
    *,
    epsilon: float,
    steps: int,
    step_size: float,
    largest_gradient: float,
    k1: float,
    k2: float,
    largest_eigenvalue: float,
    gradient_norm: float | None = None,
) -> Bound:
    """λ_max/2·((T − t)A + (K₂(T − t)A + ε_t)/K₁) with A = α² max‖∇f‖², in the unit of the loss: Eq. (53).

    Args:
        epsilon: ε_t of the theorem, |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, in nats.
        steps: T − t, the steps still to go.
        step_size: α, the same at each step.
        largest_gradient: The largest ‖∇f(ω̃ⁱ)‖ for i from t to T − 1.
        k1: K̄₁ of Eq. (45), nats over squared units of the weights; λ_min(Σ⁻¹)/2 for Gaussian latents.
        k2: K̄₂ᵗ of Eq. (45), likewise; λ_max(Σ⁻¹)/2 for Gaussian latents.
        largest_eigenvalue: λ_max of ∇²f(ω*), with its sign.
        gradient_norm: ‖∇f(ω*)‖, which is taken to be 0; given, that is checked.

    Returns:
        A bound on |f(ω*) − f(ω̃ᵗ)| that does not hold.

    Raises:
        TheoryError: If a number is out of range.

    Source: the paper's Theorem 3.6, Eqs. (45)–(53); tests/theory/test_theorem_3_6.py has a training that violates it.
    """
    epsilon, first, second = not_negative(epsilon, "ε_t"), positive(k1, "K̄₁"), not_negative(k2, "K̄₂")
    bend = finite(largest_eigenvalue, "λ_max, the largest eigenvalue of the Hessian")
    length = gradient_descent_length(steps=steps, step_size=step_size, largest_gradient=largest_gradient)
    rest = length**2 / steps if steps else 0.0
    return Bound(
        statement="Theorem 3.6",
        form="published",
        side="upper",
        quantity="|f(ω*) − f(ω̃ᵗ)|, the performance difference at iteration t",
        value=times(bend / 2, rest + (second * rest + epsilon) / first),
        unit="loss",
        constants={
            "ε_t": epsilon,
            "T − t": float(steps),
            "α": float(step_size),
            "max‖∇f‖": float(largest_gradient),
            "K̄₁": first,
            "K̄₂": second,
            "λ_max": bend,
        },
        assumptions=(
            Assumption(text="every step is −α∇f, full-batch gradient descent without momentum"),
            *published_assumptions(gradient_norm),
            Assumption(text="K̄₁‖ω* − ω̃*‖² − K̄₂‖ω̃* − ω̃ᵗ‖² is at most the difference of the divergences"),
        ),
    )


def corrected(
    *,
    epsilon: float,
    sparse_to_iterate: float,
    trace_p: float,
    trace_q: float,
    path_length: float,
    gradient_norm: float,
    curvature: float,
    over_segment: bool | None = None,
) -> Bound:
    """‖∇f‖(x + y) + λ/2·(x + y)², with x² = 2C s/(1 − s), s = √((ε_t + KL(P_ω̃*‖P_ω̃ᵗ))/2), and y the path length.

    Proof: KL(P_ω*‖P_ω̃*) ≤ ε_t + KL(P_ω̃*‖P_ω̃ᵗ), so that ‖ω* − ω̃*‖ ≤ x by the corrected Eq. (16); ‖ω̃* − ω̃ᵗ‖ ≤ y, and
    ‖ω* − ω̃ᵗ‖ ≤ x + y; then Taylor's formula (`second_order`). (x + y)² is at most the 2x² + 2y² that Eq. (46) needs.

    Args:
        epsilon: ε_t of the theorem, |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, in nats.
        sparse_to_iterate: KL(P_ω̃*‖P_ω̃ᵗ), in nats.
        trace_p: tr Σ, the trace of the covariance of P_ω*.
        trace_q: tr Σ̃, that of P_ω̃*.
        path_length: y, the sum of the norms of the steps from t to T, whatever made them; for gradient descent see
            `gradient_descent_length`.
        gradient_norm: ‖∇f‖ at ω* or at ω̃ᵗ.
        curvature: λ, the largest absolute eigenvalue of ∇²f over the segment from ω̃ᵗ to ω*.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.

    Returns:
        An upper bound on |f(ω*) − f(ω̃ᵗ)|; infinite where the divergences add up to 2 nats or more.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: derived here; tests/theory/test_theorem_3_6.py.
    """
    epsilon, later = not_negative(epsilon, "ε_t"), not_negative(sparse_to_iterate, "KL(P_ω̃*‖P_ω̃ᵗ)")
    distance = equation_16.corrected(epsilon=epsilon + later, trace_p=trace_p, trace_q=trace_q)
    x, y = math.sqrt(distance.value), not_negative(path_length, "the path length")
    constants = distance.constants | {"ε_t": epsilon, "KL(P_ω̃*‖P_ω̃ᵗ)": later, "x": x, "y": y}
    return _bound((x + y) ** 2, gradient_norm, curvature, constants, distance.assumptions, over_segment, "corrected")


def corrected_gaussian(
    *,
    epsilon: float,
    sparse_to_iterate: float,
    inverse_min: float,
    path_length: float,
    gradient_norm: float,
    curvature: float,
    over_segment: bool | None = None,
) -> Bound:
    """The same for Gaussian latents of equal covariance: x² = 2(ε_t + KL(P_ω̃*‖P_ω̃ᵗ))/λ_min, for every ε_t.

    Args:
        epsilon: ε_t of the theorem, |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, in nats.
        sparse_to_iterate: KL(P_ω̃*‖P_ω̃ᵗ), in nats.
        inverse_min: λ_min, the smallest eigenvalue of Σ⁻¹.
        path_length: y, the sum of the norms of the steps from t to T.
        gradient_norm: ‖∇f‖ at ω* or at ω̃ᵗ.
        curvature: λ, the largest absolute eigenvalue of ∇²f over the segment from ω̃ᵗ to ω*.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.

    Returns:
        An upper bound on |f(ω*) − f(ω̃ᵗ)|, in the unit of the loss.

    Raises:
        TheoryError: If a number is negative or NaN, or λ_min is not positive.

    Source: derived here; tests/theory/test_theorem_3_6.py.
    """
    epsilon, later = not_negative(epsilon, "ε_t"), not_negative(sparse_to_iterate, "KL(P_ω̃*‖P_ω̃ᵗ)")
    smallest = positive(inverse_min, "λ_min, the smallest eigenvalue of Σ⁻¹")
    x, y = math.sqrt(2 * (epsilon + later) / smallest), not_negative(path_length, "the path length")
    constants = {"ε_t": epsilon, "KL(P_ω̃*‖P_ω̃ᵗ)": later, "λ_min(Σ⁻¹)": smallest, "x": x, "y": y}
    needed = (Assumption(text="the latents are Gaussians of the same covariance"),)
    return _bound((x + y) ** 2, gradient_norm, curvature, constants, needed, over_segment, "corrected")


def sharpened_gaussian(
    *,
    epsilon: float,
    dense_to_sparse: float,
    inverse_min: float,
    gradient_norm: float,
    curvature: float,
    over_segment: bool | None = None,
) -> Bound:
    """‖∇f‖r + λ/2·r² with r² = 2(ε_t + KL(P_ω*‖P_ω̃*))/λ_min, from Definition 2.7's own ε_t: no path, no T − t.

    Proof: KL(P_ω*‖P_ω̃ᵗ) ≤ ε_t + KL(P_ω*‖P_ω̃*) bounds ‖ω* − ω̃ᵗ‖ at once, without the detour over ω̃*. This is what
    Definition 2.7 is good for, and what the theorem's other quantity cannot give.

    Args:
        epsilon: ε_t of Definition 2.7, |KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)|, in nats.
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        inverse_min: λ_min, the smallest eigenvalue of Σ⁻¹ of the Gaussian latents.
        gradient_norm: ‖∇f‖ at ω* or at ω̃ᵗ.
        curvature: λ, the largest absolute eigenvalue of ∇²f over the segment from ω̃ᵗ to ω*.
        over_segment: Whether λ was taken over the whole segment; None if that is unknown.

    Returns:
        An upper bound on |f(ω*) − f(ω̃ᵗ)|, in the unit of the loss.

    Raises:
        TheoryError: If a number is negative or NaN, or λ_min is not positive.

    Source: derived here; tests/theory/test_theorem_3_6.py.
    """
    epsilon, first = not_negative(epsilon, "ε_t"), not_negative(dense_to_sparse, "KL(P_ω*‖P_ω̃*)")
    smallest = positive(inverse_min, "λ_min, the smallest eigenvalue of Σ⁻¹")
    square = 2 * (epsilon + first) / smallest
    constants = {"ε_t": epsilon, "KL(P_ω*‖P_ω̃*)": first, "λ_min(Σ⁻¹)": smallest, "r²": square}
    needed = (Assumption(text="the latents are Gaussians of the same covariance"),)
    return _bound(square, gradient_norm, curvature, constants, needed, over_segment, "sharpened")


def gradient_descent_length(*, steps: int, step_size: float, largest_gradient: float) -> float:
    """(T − t)·α·max‖∇f‖, at least the length of the path of T − t steps of plain gradient descent.

    Args:
        steps: T − t, the steps still to go.
        step_size: α, the largest step size among them.
        largest_gradient: The largest norm of a gradient that was used, of the mini-batches if there are any.

    Returns:
        A length in units of the weights. With momentum the steps are longer: use the sum of their norms instead.

    Raises:
        TheoryError: If a number is negative or NaN.

    Source: Eq. (47) and the triangle inequality; tests/theory/test_theorem_3_6.py.
    """
    count = not_negative(steps, "T − t, the number of steps")
    size = not_negative(step_size, "α, the size of a step")
    return count * size * not_negative(largest_gradient, "max‖∇f‖, the largest norm of a gradient")


def _bound(
    square: float,
    gradient_norm: float,
    curvature: float,
    constants: dict[str, float],
    needed: tuple[Assumption, ...],
    over_segment: bool | None,
    form: Form,
) -> Bound:
    return Bound(
        statement="Theorem 3.6",
        form=form,
        side="upper",
        quantity="|f(ω*) − f(ω̃ᵗ)|, the performance difference at iteration t",
        value=second_order(square, gradient_norm=gradient_norm, curvature=curvature),
        unit="loss",
        constants=constants | {"‖∇f‖": float(gradient_norm), "λ": float(curvature)},
        assumptions=(*needed, *second_order_assumptions(over_segment, None)),
    )
