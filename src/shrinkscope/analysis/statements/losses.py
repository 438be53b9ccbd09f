"""Statements about the performance difference: Lemma 3.1, Corollaries 3.2 and 3.4, Theorem 3.5."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from shrinkscope.analysis.statements.latents import EQUAL_COVARIANCE
from shrinkscope.analysis.statements.trial import Trial
from shrinkscope.theory import corollary_3_2, corollary_3_4, lemma_3_1, theorem_3_5
from shrinkscope.theory.through_layers import GaussianLayer

TARGET_MASS = 1.0
"""E|Y| of the statements: the loss that is measured is the mean loss itself, labels and all."""


class Landscape(msgspec.Struct, frozen=True, kw_only=True):
    """What the statements need to know of the loss, in the weights that were compressed.

    Attributes:
        published_eigenvalue: λ_max of the Hessian at ω̃, which the printed statements take.
        published_gradient: ‖∇ℓ(ω̃)‖, which they take to be 0.
        gradient_norm: ‖∇ℓ(ω)‖ over the weights that changed.
        curvature: Largest absolute eigenvalue of the Hessian over the segment from ω̃ to ω.
        over_segment: Whether that is certain; None for an estimate from some points.
        same_elsewhere: Whether nothing else differs between the networks.
        difference: |ℓ(ω) − ℓ(ω̃)|, measured.
    """

    published_eigenvalue: float
    published_gradient: float
    gradient_norm: float
    curvature: float
    over_segment: bool | None
    same_elsewhere: bool | None
    difference: float


class GaussianLatent(msgspec.Struct, frozen=True, kw_only=True):
    """Gaussian latents of one layer, of equal covariance.

    Attributes:
        divergence: KL(P_ω‖P_ω̃) in nats.
        trace: tr Σ.
        inverse_min: Smallest eigenvalue of Σ⁻¹.
    """

    divergence: float
    trace: float
    inverse_min: float


def loss_trials(latent: GaussianLatent, loss: Landscape) -> Iterator[Trial]:
    """Lemma 3.1 and Corollary 3.2 beside the measured difference of the loss.

    Args:
        latent: The latents of the weights that were compressed.
        loss: The loss in these weights.

    Yields:
        Both statements, as published and corrected, and Lemma 3.1 sharpened in two ways.
    """
    traces = {"epsilon": latent.divergence, "trace_p": latent.trace, "trace_q": latent.trace}
    inverse = {"epsilon": latent.divergence, "inverse_min": latent.inverse_min}
    printed = {
        "largest_eigenvalue": loss.published_eigenvalue,
        "target_mass": TARGET_MASS,
        "gradient_norm": loss.published_gradient,
    }
    right = _right(loss)
    bounds = (
        lemma_3_1.as_published(**traces, **printed),
        lemma_3_1.corrected(**traces, **right),
        lemma_3_1.sharpened(**traces, **right),
        corollary_3_2.as_published(**inverse, **printed),
        corollary_3_2.corrected(**inverse, **right),
    )
    yield from (Trial(bound=bound, measured=loss.difference) for bound in bounds)
    equal = lemma_3_1.sharpened_equal_covariance(**inverse, **right)
    yield Trial(bound=equal, measured=loss.difference, form=EQUAL_COVARIANCE)


def chain_trials(divergences: Sequence[float], layers: Sequence[GaussianLayer], loss: Landscape) -> Iterator[Trial]:
    """Corollary 3.4 from each layer to the next, and Theorem 3.5 from the first to the difference of the loss.

    Args:
        divergences: KL(P_ω‖P_ω̃) of each layer in nats.
        layers: The layers, as many, at least two, in order.
        loss: The loss in the weights of all of them; the printed eigenvalue is that of the last layer.

    Yields:
        The corollary for each pair of neighbours, then the theorem, as published, corrected and sharpened.
    """
    for epsilon, measured, layer, following in zip(
        divergences[:-1], divergences[1:], layers[:-1], layers[1:], strict=True
    ):
        yield Trial(
            bound=corollary_3_4.as_published(epsilon=epsilon, layer=layer, following=following), measured=measured
        )
        yield Trial(bound=corollary_3_4.corrected(epsilon=epsilon, layer=layer, following=following), measured=measured)
        yield Trial(bound=corollary_3_4.sharpened(following=following), measured=measured)
    right = _right(loss)
    bounds = (
        theorem_3_5.as_published_gaussian(
            epsilon=divergences[0],
            layers=layers,
            largest_eigenvalue=loss.published_eigenvalue,
            target_mass=TARGET_MASS,
        ),
        theorem_3_5.corrected_gaussian(epsilon=divergences[0], layers=layers, **right),
        theorem_3_5.sharpened_gaussian(epsilon=divergences[0], layers=layers, **right),
    )
    yield from (Trial(bound=bound, measured=loss.difference) for bound in bounds)


def _right(loss: Landscape) -> dict[str, Any]:
    """What the corrected statements need to know of the loss."""
    return {
        "gradient_norm": loss.gradient_norm,
        "curvature": loss.curvature,
        "target_mass": TARGET_MASS,
        "over_segment": loss.over_segment,
        "same_elsewhere": loss.same_elsewhere,
    }
