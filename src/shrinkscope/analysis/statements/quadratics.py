"""The statements on random quadratic losses at their minimum, where every constant is known exactly."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkscope.analysis.statements.cube import cube_trials
from shrinkscope.analysis.statements.descent import descend, descent_trials
from shrinkscope.analysis.statements.latents import latent_trials
from shrinkscope.analysis.statements.losses import GaussianLatent, Landscape, chain_trials, loss_trials
from shrinkscope.analysis.statements.trial import Trial
from shrinkscope.compression import MagnitudePruning, RandomPruning
from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import Diagonal
from shrinkscope.theory import corollary_3_2
from shrinkscope.theory.constants import inverse_extremes, squared_norm
from shrinkscope.theory.through_layers import GaussianLayer, LayerNorms

_DIM = 12
_LAYERS = 2
_STEPS = 30
_LEVELS = (0.25, 0.5, 0.75)


def quadratic_trials(instances: int, generator: torch.Generator) -> Iterator[Trial]:
    """All statements on ℓ(v) = ½(v − ω)ᵀH(v − ω) with ω pruned, for random H, ω, Σ and method.

    Twelve weights in two layers; the size of the weights runs from 0.02 to 3 standard deviations of the latents, the
    eigenvalues of H from 0.1 to 10 and those of Σ from 1 to 4, as the text above Eq. (5) asks.

    Args:
        instances: Number of losses.
        generator: Where they are drawn from.

    Yields:
        Every statement of every loss.
    """
    for _ in range(instances):
        yield from _trials(_drawn(generator))


@dataclass(frozen=True)
class _Quadratic:
    """One loss, its minimum ω, and what pruning keeps of it."""

    hessian: Tensor
    weights: Tensor
    kept: Tensor
    variances: Tensor
    other_variances: Tensor

    @property
    def delta(self) -> Tensor:
        return torch.where(self.kept, 0.0, self.weights)

    def slope(self, weights: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient."""
        gradient = self.hessian @ (weights - self.weights)
        return float((weights - self.weights) @ gradient) / 2, gradient


def _drawn(generator: torch.Generator) -> _Quadratic:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    basis, _ = torch.linalg.qr(torch.randn(_DIM, _DIM, generator=generator, dtype=torch.float64))
    eigenvalues = 10 ** uniform(-1, 1, _DIM)
    size = 10 ** uniform(-1.7, 0.48, 1)
    weights = size * torch.randn(_DIM, generator=generator, dtype=torch.float64)
    level = _LEVELS[int(torch.randint(len(_LEVELS), (), generator=generator))]
    methods = (
        MagnitudePruning(level=level),
        MagnitudePruning(level=level, order="highest"),
        RandomPruning(level=level),
    )
    method = methods[int(torch.randint(len(methods), (), generator=generator))]
    kept = method.mask({"w": weights[None]}, generator)["w"][0]
    return _Quadratic((basis * eigenvalues) @ basis.T, weights, kept, uniform(1, 4, _DIM), uniform(1, 4, _DIM))


def _trials(loss: _Quadratic) -> Iterator[Trial]:
    covariance = Diagonal(loss.variances)
    yield from latent_trials(loss.delta, covariance, Diagonal(loss.other_variances))
    divergence, landscape = float(gaussian_kl(loss.delta, covariance)), _landscape(loss)
    latent = GaussianLatent(
        divergence=divergence, trace=covariance.trace(), inverse_min=inverse_extremes(covariance)[0]
    )
    yield from loss_trials(latent, landscape)
    yield _with_own_hessian(landscape)
    yield from cube_trials(
        list(zip(loss.weights.chunk(_LAYERS), (loss.weights - loss.delta).chunk(_LAYERS), strict=True))
    )
    yield from chain_trials(*_layers(loss), landscape)
    descent = descend(loss.slope, loss.weights, loss.kept, steps=_STEPS, step_size=1 / landscape.curvature)
    yield from descent_trials(
        descent,
        variance=float(loss.variances.mean()),
        eigenvalue=landscape.curvature,
        curvature=landscape.curvature,
        over_segment=True,
        times=(0, _STEPS // 3, _STEPS),
    )


def _landscape(loss: _Quadratic) -> Landscape:
    largest = float(torch.linalg.eigvalsh(loss.hessian)[-1])
    pruned, gradient = loss.slope(loss.weights - loss.delta)
    return Landscape(
        published_eigenvalue=largest,
        published_gradient=float(gradient.norm()),
        gradient_norm=0.0,
        curvature=largest,
        over_segment=True,
        same_elsewhere=True,
        difference=pruned,
    )


def _with_own_hessian(landscape: Landscape) -> Trial:
    """Corollary 3.2 for Σ⁻¹ = H, where the divergence *is* the difference of the loss."""
    bound = corollary_3_2.sharpened(
        epsilon=landscape.difference,
        whitened_gradient=0.0,
        whitened_curvature=1.0,
        target_mass=1.0,
        over_segment=True,
        same_elsewhere=True,
    )
    return Trial(bound=bound, measured=landscape.difference, form="sharpened, Σ⁻¹ = H")


def _layers(loss: _Quadratic) -> tuple[list[float], list[GaussianLayer]]:
    """The two halves of the weights as layers."""
    divergences, layers = [], []
    for weights, delta, variances in zip(
        loss.weights.chunk(_LAYERS), loss.delta.chunk(_LAYERS), loss.variances.chunk(_LAYERS), strict=True
    ):
        covariance = Diagonal(variances)
        low, high = inverse_extremes(covariance)
        norms = LayerNorms(dense=squared_norm(weights) ** 0.5, compressed=squared_norm(weights - delta) ** 0.5)
        divergences.append(float(gaussian_kl(delta, covariance)))
        layers.append(GaussianLayer(norms=norms, inverse_min=low, inverse_max=high))
    return divergences, layers
