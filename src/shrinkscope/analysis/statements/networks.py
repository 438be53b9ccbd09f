"""The statements on a network before and after compression."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from shrinkscope.analysis.statements.cube import cube_trials
from shrinkscope.analysis.statements.descent import descend, descent_trials
from shrinkscope.analysis.statements.head import Head
from shrinkscope.analysis.statements.latents import latent_trials
from shrinkscope.analysis.statements.losses import GaussianLatent, Landscape, chain_trials, loss_trials
from shrinkscope.analysis.statements.trial import Trial
from shrinkscope.curvature import hessian, segment_eigenvalue
from shrinkscope.divergence.covariance import Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.performance import evaluate_all
from shrinkscope.performance.data import Data
from shrinkscope.performance.metrics import correct, cross_entropy, measured_in
from shrinkscope.performance.predictions import predictions
from shrinkscope.theory import predictive
from shrinkscope.theory.constants import squared_norm
from shrinkscope.theory.through_layers import GaussianLayer, LayerNorms
from shrinkscope.weights import LayerSelection, compressible

POINTS = 3
"""Points of the segment at which the curvature of a whole network is taken."""

_TOLERANCE, _BASIS = 1e-2, 8  # one per cent of an eigenvalue is little beside what lies between the points


def last_layer_trials(head: Head, compressed: Tensor) -> Iterator[Trial]:
    """The statements on one layer: the dense network with the weights of its last layer replaced.

    Args:
        head: The last layer of the dense network, with the data.
        compressed: ω̃ of that layer, of the same shape; not equal to the dense weights.

    Yields:
        Eqs. (3)–(5), Definition 2.3, Lemma 2.5, Corollary 2.6, Eq. (16), Lemma 3.1 and Corollary 3.2, with latents
        N(ω, σ²I), σ² the mean square of the dense weights.
    """
    compressed = compressed.detach().to("cpu", torch.float64)
    delta, dimension = head.weights - compressed, head.weights.numel()
    variance = _mean_square(head.weights)
    own = _mean_square(compressed)
    yield from latent_trials(delta, Isotropic(dimension, variance), Isotropic(dimension, own) if own else None)
    latent = GaussianLatent(
        divergence=squared_norm(delta) / (2 * variance), trace=dimension * variance, inverse_min=1 / variance
    )
    dense_loss, gradient = head.slope(head.weights)
    compressed_loss, compressed_gradient = head.slope(compressed)
    landscape = Landscape(
        published_eigenvalue=head.largest_eigenvalue(compressed),
        published_gradient=float(compressed_gradient.norm()),
        gradient_norm=float(gradient[delta != 0].norm()),
        curvature=head.curvature,
        over_segment=True,
        same_elsewhere=True,
        difference=abs(compressed_loss - dense_loss),
    )
    yield from loss_trials(latent, landscape)


def layers_trials(dense: nn.Module, compressed: nn.Module, data: Data) -> Iterator[Trial]:
    """Lemma 3.3, Corollary 3.4 and Theorem 3.5: the dense network with the weights of all layers replaced.

    Biases and normalisations stay those of the dense network, so that nothing else differs.

    Args:
        dense: The network before compression.
        compressed: The network after it, of the same architecture.
        data: (inputs, class indices); every sample takes part in some hundred products with the Hessian.

    Yields:
        Lemma (with a latent on a cube) and corollary for neighbouring layers from the first that was compressed on, and
        the theorem.

    Raises:
        TheoryError: If fewer than two layers follow from the first that was compressed on.
    """
    before = {name: weight.detach().to("cpu", torch.float64) for name, weight in compressible(dense).items()}
    after = {name: weight.detach().to("cpu", torch.float64) for name, weight in compressible(compressed).items()}
    names = list(before)
    changed = [name for name in names if not torch.equal(before[name], after[name])]
    chain = names[names.index(changed[0]) :] if changed else []
    if len(chain) < 2:
        raise TheoryError(
            f"{len(chain)} layers from the first compressed one to the last; Theorem 3.5 chains at least 2"
        )
    replaced = with_weights(dense, {name: after[name] for name in chain})
    layers, divergences = [], []
    for name in chain:
        variance = _mean_square(before[name])
        norms = LayerNorms(dense=squared_norm(before[name]) ** 0.5, compressed=squared_norm(after[name]) ** 0.5)
        layers.append(GaussianLayer(norms=norms, inverse_min=1 / variance, inverse_max=1 / variance))
        divergences.append(squared_norm(before[name] - after[name]) / (2 * variance))
    yield from cube_trials([(before[name], after[name]) for name in chain])
    yield from chain_trials(divergences, layers, _landscape(dense, replaced, data, chain))


def _landscape(dense: nn.Module, replaced: nn.Module, data: Data, chain: list[str]) -> Landscape:
    selection = LayerSelection.of(chain)
    both = evaluate_all({"dense": dense, "compressed": replaced}, data, {"loss": cross_entropy})
    head = Head(replaced, data)
    return Landscape(
        published_eigenvalue=head.largest_eigenvalue(head.weights),
        published_gradient=float(head.slope(head.weights)[1].norm()),
        gradient_norm=float(hessian(dense, data, layers=selection).gradient().norm()),
        curvature=segment_eigenvalue(
            dense, replaced, data, layers=selection, points=POINTS, resamples=0, tolerance=_TOLERANCE, basis=_BASIS
        ).spectral_norm.value,
        over_segment=None,
        same_elsewhere=True,
        difference=abs(both["compressed"].values["loss"] - both["dense"].values["loss"]),
    )


def predictive_trials(dense: nn.Module, compressed: nn.Module, data: Data) -> Iterator[Trial]:
    """The predictive bound on the data given: no curvature, no gradient, no labels in the bound.

    Args:
        dense: The network before compression.
        compressed: The network after it; anything may differ.
        data: (inputs, class indices); the labels are used for the measured differences alone.

    Yields:
        The bounds on the accuracy difference, and on the difference of the mean probability of the right class.
    """
    found = predictions(dense, compressed, data)
    metrics = {"accuracy": correct, "probability": probability_of_target}
    both = evaluate_all({"dense": dense, "compressed": compressed}, data, metrics)
    gap = {name: abs(both["dense"].values[name] - both["compressed"].values[name]) for name in metrics}
    variation, divergence = found.total_variation, found.kl
    disagreement = float(found.disagrees.double().mean())
    yield Trial(bound=predictive.accuracy(disagreement), measured=gap["accuracy"], form="disagreement")
    by_margin = predictive.accuracy_by_margin(variation, found.margin)
    yield Trial(bound=by_margin, measured=gap["accuracy"], form="TV against margin")
    measure = predictive.measure(float(variation.mean()))
    yield Trial(bound=measure, measured=gap["probability"], form="E TV")
    yield Trial(bound=predictive.measure_by_pinsker(divergence), measured=gap["probability"], form="E √(KL/2)")
    by_jensen = predictive.measure_by_jensen(float(divergence.mean()))
    yield Trial(bound=by_jensen, measured=gap["probability"], form="√(E KL/2)")


def training_trials(head: Head, kept: Tensor, *, steps: int) -> Iterator[Trial]:
    """Theorem 3.6 while the last layer alone is trained again by full-batch gradient descent.

    Args:
        head: The last layer of the dense network, with the data.
        kept: True where a weight of the layer is kept.
        steps: T; the step size is 1/λ for the certified curvature.

    Yields:
        The theorem at the start, after a third of the steps, and at the end.
    """
    descent = descend(head.slope, head.weights, kept, steps=steps, step_size=1 / head.curvature)
    yield from descent_trials(
        descent,
        variance=_mean_square(head.weights),
        eigenvalue=head.largest_eigenvalue(head.weights),
        curvature=head.curvature,
        over_segment=True,
        times=(0, steps // 3, steps),
    )


@measured_in("fraction")
def probability_of_target(outputs: Tensor, targets: Tensor) -> Tensor:
    """Softmax probability of each sample's class: its mean is the accuracy of a class drawn from the network."""
    return torch.exp(-cross_entropy(outputs, targets))


def with_weights(dense: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """A copy of the network with other weights in some layers.

    Args:
        dense: The network; left as it is.
        weights: Name of a parameter → its new values.
    """
    model = copy.deepcopy(dense)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, values in weights.items():
            parameters[name].copy_(values)
    return model


def _mean_square(weights: Tensor) -> float:
    return squared_norm(weights) / weights.numel()
