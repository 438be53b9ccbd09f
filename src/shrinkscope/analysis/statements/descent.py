"""Theorem 3.6 along a training: gradient descent on the weights that a mask keeps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.analysis.statements.trial import Trial
from shrinkscope.theory import definition_2_7, theorem_3_6
from shrinkscope.theory.constants import squared_norm

Slope = Callable[[Tensor], tuple[float, Tensor]]
"""Weights → loss and its gradient there."""


@dataclass(frozen=True)
class Descent:
    """Gradient descent from pruned weights, and what the theorem needs to know of it.

    Attributes:
        dense: ω*.
        iterates: ω̃⁰, …, ω̃ᵀ.
        losses: f at each of them.
        gradients: ‖∇f‖ over the kept weights at each of them.
        dense_loss: f(ω*).
        dense_gradient: ‖∇f(ω*)‖ over all weights.
        step_size: α.
    """

    dense: Float[Tensor, " dim"]
    iterates: Sequence[Float[Tensor, " dim"]]
    losses: Sequence[float]
    gradients: Sequence[float]
    dense_loss: float
    dense_gradient: float
    step_size: float


def descend(
    slope: Slope, dense: Float[Tensor, " dim"], kept: Float[Tensor, " dim"], *, steps: int, step_size: float
) -> Descent:
    """Prune the dense weights and train what is left by plain full-batch gradient descent, as Eq. (47) has it.

    Args:
        slope: Loss and gradient.
        dense: ω*, float64.
        kept: True where a weight is kept.
        steps: T.
        step_size: α; at most 1/λ keeps the loss from rising.

    Returns:
        The training.
    """
    weights, iterates, losses, gradients = torch.where(kept, dense, 0.0), [], [], []
    for _ in range(steps + 1):
        loss, gradient = slope(weights)
        gradient = torch.where(kept, gradient, 0.0)
        iterates.append(weights)
        losses.append(loss)
        gradients.append(float(gradient.norm()))
        weights = weights - step_size * gradient
    dense_loss, dense_gradient = slope(dense)
    return Descent(dense, iterates, losses, gradients, dense_loss, float(dense_gradient.norm()), step_size)


def descent_trials(
    descent: Descent, *, variance: float, eigenvalue: float, curvature: float, over_segment: bool, times: Sequence[int]
) -> Iterator[Trial]:
    """Definition 2.7 and Theorem 3.6 at some iterations of a training, for Gaussian latents N(ω, σ²I).

    Args:
        descent: The training; its last iterate is ω̃*.
        variance: σ².
        eigenvalue: λ_max of the Hessian at ω*, for the printed form.
        curvature: Largest absolute eigenvalue between any iterate and ω*.
        over_segment: Whether that is certain.
        times: Iterations t.

    Yields:
        The definition beside the divergence that it is about, and the theorem beside |f(ω*) − f(ω̃ᵗ)|: as published,
        corrected, and sharpened, for the theorem from Definition 2.7.
    """
    final, last = descent.iterates[-1], len(descent.iterates) - 1
    lengths = [float((after - before).norm()) for before, after in pairwise(descent.iterates)]

    def divergence(p: Tensor, q: Tensor) -> float:
        return squared_norm(p - q) / (2 * variance)

    dense_to_sparse = divergence(descent.dense, final)
    for t in times:
        measured = abs(descent.losses[t] - descent.dense_loss)
        sparse_to_iterate = divergence(final, descent.iterates[t])
        dense_to_iterate = divergence(descent.dense, descent.iterates[t])
        yield from _approximate_ap3(dense_to_sparse, dense_to_iterate, sparse_to_iterate)
        epsilon = abs(dense_to_sparse - sparse_to_iterate)
        printed = theorem_3_6.as_published(
            epsilon=epsilon,
            steps=last - t,
            step_size=descent.step_size,
            largest_gradient=max(descent.gradients[t:]),
            k1=1 / (2 * variance),
            k2=1 / (2 * variance),
            largest_eigenvalue=eigenvalue,
            gradient_norm=descent.dense_gradient,
        )
        right = theorem_3_6.corrected_gaussian(
            epsilon=epsilon,
            sparse_to_iterate=sparse_to_iterate,
            inverse_min=1 / variance,
            path_length=sum(lengths[t:]),
            gradient_norm=descent.dense_gradient,
            curvature=curvature,
            over_segment=over_segment,
        )
        sharp = theorem_3_6.sharpened_gaussian(
            epsilon=abs(dense_to_sparse - dense_to_iterate),
            dense_to_sparse=dense_to_sparse,
            inverse_min=1 / variance,
            gradient_norm=descent.dense_gradient,
            curvature=curvature,
            over_segment=over_segment,
        )
        yield from (Trial(bound=bound, measured=measured) for bound in (printed, right, sharp))


def _approximate_ap3(dense_to_sparse: float, dense_to_iterate: float, sparse_to_iterate: float) -> Iterator[Trial]:
    end = {"dense_to_sparse": dense_to_sparse}
    yield Trial(
        bound=definition_2_7.as_published(
            **end, dense_to_iterate=dense_to_iterate, sparse_to_iterate=sparse_to_iterate
        ),
        measured=dense_to_sparse,
    )
    yield Trial(bound=definition_2_7.corrected(**end, sparse_to_iterate=sparse_to_iterate), measured=dense_to_sparse)
    yield Trial(bound=definition_2_7.sharpened(**end, dense_to_iterate=dense_to_iterate), measured=dense_to_iterate)
