"""The corrected bound of Theorem 3.6 on a real fine-tuning: certified where the loss is convex, else an estimate."""

import itertools
import math
from collections.abc import Collection, Sequence

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature import gradient_norm, hessian, last_layer_hessian, segment_eigenvalue
from shrinkscope.divergence.covariance import Diagonal, Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.latent import Gaussian, RotatedGaussian, StudentT
from shrinkscope.performance.data import Data
from shrinkscope.theory import theorem_3_6
from shrinkscope.theory.bound import Bound
from shrinkscope.theory.constants import inverse_extremes
from shrinkscope.weights import PairMoments, Weights

Followed = Gaussian | RotatedGaussian | StudentT
"""Latents whose Kullback–Leibler divergence is exact, so that differences of it have a meaning."""


_POINTS, _TOLERANCE, _BASIS = 3, 5e-2, 8
"""Of a segment, of an eigenvalue: five per cent are little beside what lies between the points and the samples."""


class SmoothLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The constants of a mean cross-entropy as a function of the parameters that are trained.

    Attributes:
        gradient_norm: ‖∇f(ω*)‖ at the dense weights, in nats per weight.
        curvature: Largest absolute eigenvalue of ∇²f, in nats per weight².
        certified: Whether the curvature is at most that at *any* weights. If not it is the largest that was found at
            points between the dense network and the path, and what follows from it is an estimate, not a bound.
    """

    gradient_norm: float
    curvature: float
    certified: bool


def last_layer_loss(model: nn.Module, samples: Data, layer: str) -> SmoothLoss:
    """The constants where the last layer alone is trained, in which the loss is convex; one pass over the samples.

    Args:
        model: The dense network.
        samples: The data of the mean, all of which count.
        layer: Name of the layer that is trained, weight and bias.

    Returns:
        The constants, of which the curvature is certified.

    Raises:
        CurvatureError: If the network does not end in that layer, or it is not linear.
    """
    hessian = last_layer_hessian(model, samples, layer=layer)
    return SmoothLoss(
        gradient_norm=gradient_norm(hessian, resamples=0).norm.value,
        curvature=hessian.global_bound().value,
        certified=True,
    )


def path_loss(
    model: nn.Module, samples: tuple[Tensor, Tensor], ends: Sequence[dict[str, Tensor]], limit: int
) -> SmoothLoss:
    """The constants where the whole network is trained: the curvature is looked for, and not certified.

    Args:
        model: The dense network.
        samples: The data of the mean. All count for the gradient.
        ends: Parameters of networks on the path. The curvature is taken at each, at the dense network, and half way.
        limit: How many samples, evenly spaced, the curvature is taken on.

    Returns:
        The constants.

    Raises:
        CurvatureError: If there is not enough memory, or the network has no second derivative.
    """
    inputs, targets = samples
    chosen = torch.linspace(0, len(inputs) - 1, min(limit, len(inputs))).round().long()
    some = inputs[chosen], targets[chosen]
    largest = max(
        segment_eigenvalue(
            model, end, some, points=_POINTS, resamples=0, tolerance=_TOLERANCE, basis=_BASIS, batch_size=limit
        ).spectral_norm.value
        for end in ends
    )
    slope = gradient_norm(hessian(model, samples), resamples=0).norm.value
    return SmoothLoss(gradient_norm=slope, curvature=largest, certified=False)


def distance_between(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Euclidean distance of two sets of tensors of the same names, float64, in units of the weights."""
    squares = ((first[name].to(torch.float64) - second[name].to(torch.float64)).square().sum() for name in first)
    return math.sqrt(math.fsum(map(float, squares)))


def path_lengths(path: Sequence[dict[str, Tensor]]) -> list[float]:
    """Sum the norms of the steps from snapshot to snapshot, from each epoch t to the last.

    Args:
        path: The trained tensors after each epoch.

    Returns:
        Lengths in units of the weights, at least the distances to the last snapshot; the last is 0.
    """
    steps = [distance_between(a, b) for a, b in itertools.pairwise(path)]
    return [math.fsum(steps[epoch:]) for epoch in range(len(path))]


def unprojected_distance(dense: Weights, last: dict[str, Tensor], layers: Collection[str]) -> float:
    """How far fine-tuning moved what no latent is put over, biases and normalisations, in units of the weights.

    Added to the length of a path, the path ends where nothing but the layers' weights differ from the dense network.

    Args:
        dense: The dense network.
        last: The trained tensors of the last epoch.
        layers: Names of the tensors that latents are put over.
    """
    rest = {name: tensor for name, tensor in last.items() if name not in layers}
    return distance_between(rest, {name: dense[name].read().cpu() for name in rest})


def bound_on_loss(
    latent: Followed, moments: Sequence[PairMoments], loss: SmoothLoss, *, epsilon: float, later: float, length: float
) -> Bound:
    """The corrected bound of Theorem 3.6 on |f(ω*) − f(ω̃ᵗ)| from one latent, in nats.

    Args:
        latent: The latent, over the weights of each trained layer, the layers independent of each other.
        moments: Statistics of these layers, of which the dense weights and their number matter.
        loss: The constants of the loss.
        epsilon: ε_t of Theorem 3.6, in nats, of all layers together.
        later: KL(P_ω̃*‖P_ω̃ᵗ), in nats, likewise.
        length: Length of a path from ω̃ᵗ to the point that has the layers' weights of ω̃* and all else of ω*.

    Returns:
        The bound, which holds on the samples of the loss up to rounding where the constants are certified.

    Raises:
        TheoryError: If nothing follows from a divergence of this latent.
        LatentError: If a layer has no scale.
    """
    if latent.groups is not None:
        raise TheoryError("a divergence of group means says nothing about the weights within the groups")
    spreads = [(latent.scale.variance(layer), layer.count) for layer in moments]
    constants = {
        "epsilon": epsilon,
        "sparse_to_iterate": later,
        "path_length": length,
        "gradient_norm": loss.gradient_norm,
        "curvature": loss.curvature,
        "over_segment": True if loss.certified else None,
    }
    if isinstance(latent, StudentT):
        if latent.df <= 2:
            raise TheoryError(f"a Student-t law of {latent.df:g} degrees of freedom has no covariance")
        trace = latent.df / (latent.df - 2) * math.fsum(variance * count for variance, count in spreads)
        found = theorem_3_6.corrected(**constants, trace_p=trace, trace_q=trace)
    else:
        inverse_min = min(inverse_extremes(_covariance(latent, *spread))[0] for spread in spreads)
        found = theorem_3_6.corrected_gaussian(**constants, inverse_min=inverse_min)
    if math.isinf(found.value):
        raise TheoryError(f"the bound is infinite: ε and the divergence add up to {epsilon + later:.3g} nats, not < 2")
    return found


def _covariance(latent: Gaussian | RotatedGaussian, variance: float, count: int) -> Isotropic | Diagonal:
    if isinstance(latent, RotatedGaussian):
        # The eigenvalues are those of its spectrum, whatever the rotation.
        return Diagonal(variance * latent.spectrum.eigenvalues(count))
    return Isotropic(count, variance)
