"""The corrected bound of Theorem 3.6 on a real fine-tuning: where the loss is convex, with certified constants."""

import itertools
import math

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature import gradient_norm, last_layer_hessian
from shrinkscope.divergence.covariance import Diagonal, Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.experiments.snapshots import Snapshots
from shrinkscope.latent import Gaussian, RotatedGaussian, StudentT
from shrinkscope.theory import theorem_3_6
from shrinkscope.theory.bound import Bound
from shrinkscope.theory.constants import inverse_extremes
from shrinkscope.weights import PairMoments, Weights

Followed = Gaussian | RotatedGaussian | StudentT
"""Latents whose Kullback–Leibler divergence is exact, so that differences of it have a meaning."""


class LastLayerLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Mean cross-entropy as a function of the last layer alone: convex, with its constants.

    Attributes:
        layer: Name of the layer.
        gradient_norm: ‖∇f(ω*)‖ at the dense weights, in nats per weight.
        curvature: Largest eigenvalue of ∇²f at *any* weights of the layer, at most: a certified bound, in nats per
            weight².
    """

    layer: str
    gradient_norm: float
    curvature: float

    @classmethod
    def of(cls, model: nn.Module, samples: tuple[Tensor, Tensor], layer: str) -> "LastLayerLoss":
        """Measure the constants in one pass over the samples.

        Args:
            model: The dense network.
            samples: The data of the mean, all of which count.
            layer: Name of the layer that is trained, weight and bias.

        Returns:
            The constants.

        Raises:
            CurvatureError: If the network does not end in that layer, or it is not linear.
        """
        hessian = last_layer_hessian(model, samples, layer=layer)
        return cls(
            layer=layer,
            gradient_norm=gradient_norm(hessian, resamples=0).norm.value,
            curvature=hessian.global_bound().value,
        )


def distance_between(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Euclidean distance of two sets of tensors of the same names, float64, in units of the weights."""
    squares = ((first[name].to(torch.float64) - second[name].to(torch.float64)).square().sum() for name in first)
    return math.sqrt(math.fsum(map(float, squares)))


def path_lengths(path: Snapshots) -> list[float]:
    """Sum the norms of the steps from snapshot to snapshot, from each epoch t to the last.

    Args:
        path: The snapshots.

    Returns:
        Lengths in units of the weights, at least the distances to the last snapshot; the last is 0.
    """
    steps = [distance_between(a, b) for a, b in itertools.pairwise(path)]
    return [math.fsum(steps[epoch:]) for epoch in range(len(path))]


def unprojected_distance(dense: Weights, last: dict[str, Tensor], layer: str) -> float:
    """How far fine-tuning moved what no latent is put over: the bias of a layer, in units of the weights.

    Added to the length of a path, the path ends where nothing but the layer's weight differs from the dense network.

    Args:
        dense: The dense network.
        last: The trained tensors of the last epoch.
        layer: Name of the one tensor that latents are put over.
    """
    rest = {name: tensor for name, tensor in last.items() if name != layer}
    return distance_between(rest, {name: dense[name].read().cpu() for name in rest})


def bound_on_loss(
    latent: Followed, moments: PairMoments, loss: LastLayerLoss, *, epsilon: float, later: float, length: float
) -> Bound:
    """The corrected bound of Theorem 3.6 on |f(ω*) − f(ω̃ᵗ)| from one latent, in nats.

    Args:
        latent: The latent, over the weights of the trained layer.
        moments: Statistics of that layer, of which the dense weights and their number matter.
        loss: The constants of the loss.
        epsilon: ε_t of Theorem 3.6, in nats.
        later: KL(P_ω̃*‖P_ω̃ᵗ), in nats.
        length: Length of a path from ω̃ᵗ to the point that has the layer's weight of ω̃* and all else of ω*.

    Returns:
        The bound, which holds on the samples of the loss up to rounding.

    Raises:
        TheoryError: If nothing follows from a divergence of this latent.
        LatentError: If the layer has no scale.
    """
    if latent.groups is not None:
        raise TheoryError("a divergence of group means says nothing about the weights within the groups")
    variance, count = latent.scale.variance(moments), moments.count
    constants = {
        "epsilon": epsilon,
        "sparse_to_iterate": later,
        "path_length": length,
        "gradient_norm": loss.gradient_norm,
        "curvature": loss.curvature,
    }
    if isinstance(latent, StudentT):
        if latent.df <= 2:
            raise TheoryError(f"a Student-t law of {latent.df:g} degrees of freedom has no covariance")
        trace = latent.df / (latent.df - 2) * variance * count
        found = theorem_3_6.corrected(**constants, trace_p=trace, trace_q=trace, over_segment=True)
    else:
        inverse_min = inverse_extremes(_covariance(latent, variance, count))[0]
        found = theorem_3_6.corrected_gaussian(**constants, inverse_min=inverse_min, over_segment=True)
    if math.isinf(found.value):
        raise TheoryError(f"the bound is infinite: ε and the divergence add up to {epsilon + later:.3g} nats, not < 2")
    return found


def _covariance(latent: Gaussian | RotatedGaussian, variance: float, count: int) -> Isotropic | Diagonal:
    if isinstance(latent, RotatedGaussian):
        # The eigenvalues are those of its spectrum, whatever the rotation.
        return Diagonal(variance * latent.spectrum.eigenvalues(count))
    return Isotropic(count, variance)
