"""Statements about latents alone: Eqs. (3)–(5), Definition 2.3, Lemma 2.5, Corollary 2.6 and Eq. (16)."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.analysis.statements.trial import Trial
from shrinkscope.divergence import MultivariateGaussian, gaussian_kl, total_variation
from shrinkscope.divergence.covariance import Covariance
from shrinkscope.theory import (
    corollary_2_6,
    definition_2_3,
    equation_3,
    equation_4,
    equation_5,
    equation_16,
    lemma_2_5,
)
from shrinkscope.theory.constants import inverse_extremes, squared_norm

EQUAL_COVARIANCE = "sharpened, Σ = Σ̃"
"""Name of the forms that take the covariances to be equal, which frees them of the dimension."""


def latent_trials(
    delta: Float[Tensor, " dim"], covariance: Covariance, compressed: Covariance | None = None
) -> Iterator[Trial]:
    """Each statement about two Gaussian latents, beside the exact value of what it bounds.

    Args:
        delta: Δ = ω − ω̃, in weight units; not all zero.
        covariance: Σ of P_ω, and of P_ω̃ in the statements that take them to be equal.
        compressed: Σ̃ of P_ω̃ in Eq. (3); without it that is left out.

    Yields:
        Instances in the order of the paper, as published, corrected and sharpened.
    """
    delta = delta.detach().to(torch.float64).reshape(-1)
    if compressed is not None:
        truth = float(gaussian_kl(delta, covariance, compressed))
        yield Trial(bound=equation_3.as_published(delta, covariance, compressed), measured=truth, equation=True)
        yield Trial(bound=equation_3.corrected(delta, covariance, compressed), measured=truth, equation=True)
    yield from _of_one_covariance(delta, covariance)


def _of_one_covariance(delta: Tensor, covariance: Covariance) -> Iterator[Trial]:
    divergence, square = float(gaussian_kl(delta, covariance)), squared_norm(delta)
    for module in (equation_4.as_published, equation_4.corrected):
        yield Trial(bound=module(square, covariance, covariance), measured=divergence)
    for module in (equation_5.as_published, equation_5.corrected):
        yield Trial(bound=module(2 * divergence, covariance), measured=square)
    variation = _total_variation(delta, covariance)
    for module in (definition_2_3.as_published, definition_2_3.sharpened):
        yield Trial(bound=module(variation), measured=divergence)
    trace, squared = covariance.trace(), 2 * divergence
    moments = {"squared_distance": square, "trace_p": trace, "trace_q": trace}
    for module in (lemma_2_5.as_published, lemma_2_5.sharpened):
        yield Trial(bound=module(**moments), measured=variation)
    along = lemma_2_5.sharpened_along_direction(squared_mahalanobis=squared)
    yield Trial(bound=along, measured=variation, form=EQUAL_COVARIANCE)
    for module in (corollary_2_6.as_published, corollary_2_6.sharpened):
        yield Trial(bound=module(**moments), measured=divergence)
    along = corollary_2_6.sharpened_equal_covariance(squared_mahalanobis=squared)
    yield Trial(bound=along, measured=divergence, form=EQUAL_COVARIANCE)
    for module in (equation_16.as_published, equation_16.corrected, equation_16.sharpened):
        yield Trial(bound=module(epsilon=divergence, trace_p=trace, trace_q=trace), measured=square)
    smallest = inverse_extremes(covariance)[0]
    equal = equation_16.sharpened_equal_covariance(epsilon=divergence, inverse_min=smallest)
    yield Trial(bound=equal, measured=square, form=EQUAL_COVARIANCE)


def _total_variation(delta: Tensor, covariance: Covariance) -> float:
    p, q = MultivariateGaussian(delta, covariance), MultivariateGaussian(torch.zeros_like(delta), covariance)
    # Far apart the value rounds to 1, which only laws without overlap reach; the next number below keeps the lower
    # bounds on the divergence finite, and no larger than the truth.
    return min(total_variation(p, q).value, math.nextafter(1.0, 0.0))
