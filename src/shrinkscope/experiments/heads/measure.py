"""The records of heads at one epoch: the rows that ``experiments.measure`` finds for whole networks, in less time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shrinkscope.analysis.compare import total_of
from shrinkscope.analysis.measure import measure
from shrinkscope.curvature import LastLayerHessian, gradient_norm
from shrinkscope.curvature.memory import check_memory
from shrinkscope.errors import CurvatureError
from shrinkscope.experiments.config import LatentChoice
from shrinkscope.experiments.heads.evaluate import Judged
from shrinkscope.experiments.heads.locate import head_layer
from shrinkscope.experiments.iteration_bounds import SmoothLoss
from shrinkscope.experiments.measure import MEASURED, Reference, performance_records, weight_records
from shrinkscope.experiments.predictive import logits_record
from shrinkscope.experiments.records import Record
from shrinkscope.latent import resolve_latents
from shrinkscope.performance import Evaluation
from shrinkscope.weights import TensorPair, open_weights, pair

Parts = dict[str, Judged]
"""Features of the samples that performance is measured on, ``train`` and ``test``."""


class HeadMeasure:
    """Measures heads against the dense network of their trial.

    Args:
        dense: The dense network.
        head: Name of its last layer, the only one that differs.
        parts: The samples.
        latents: Latent distributions of the AP3s.
        unlabelled: Samples that predictions are compared on, for the predictive latent; None leaves it out.
    """

    def __init__(
        self,
        dense: nn.Module,
        head: str,
        parts: Parts,
        latents: Sequence[LatentChoice],
        unlabelled: Judged | None = None,
    ) -> None:
        self._parts, self._latents, self._unlabelled = parts, latents, unlabelled
        self._chosen = resolve_latents(latents)
        self._weight = f"{head}.weight"
        alone = side_by_side([head_layer(dense, head)])
        self.reference = Reference(open_weights(dense), {n: part.evaluate(*alone)[0] for n, part in parts.items()})
        layer = head_layer(dense, head)
        self._predicted = unlabelled and unlabelled.logits(layer.weight.detach(), _detached(layer.bias))
        # The layers below are the dense network's own: measured once, with differences of zero.
        own = self.reference.weights
        self._pairs = pair(own, own, MEASURED).pairs
        self._below = {p.dense.name: measure(p, self._chosen) for p in self._pairs if p.dense.name != self._weight}

    def records(self, weights: Tensor, biases: Tensor | None, epoch: int) -> list[list[Record]]:
        """Everything that a study records of each head at one epoch.

        Args:
            weights: Shape (heads, classes, features), removed weights zero.
            biases: Shape (heads, classes), or None.
            epoch: Epoch of fine-tuning, 0 before it.

        Returns:
            For each head what ``experiments.measure.epoch_records`` returns for the network with it, and the predictive
            latent; performance differs by the rounding of the network's type.
        """
        found = {name: part.evaluate(weights, biases) for name, part in self._parts.items()}
        return [
            self._of_weights(weight, epoch)
            + self._of_performance(found, place, epoch)
            + self._of_predictions(weight, None if biases is None else biases[place], epoch)
            for place, weight in enumerate(weights.detach().unbind())
        ]

    def _of_weights(self, weight: Tensor, epoch: int) -> list[Record]:
        compressed = open_weights({self._weight: weight})[self._weight]
        measured = [
            measure(TensorPair(dense=p.dense, compressed=compressed), self._chosen)
            if p.dense.name == self._weight
            else self._below[p.dense.name]
            for p in self._pairs
        ]
        rows, sums = [row for row, _ in measured], [moments for _, moments in measured]
        return weight_records(rows, total_of(rows, sums), self._latents, epoch)

    def _of_performance(self, found: dict[str, list[Evaluation]], place: int, epoch: int) -> list[Record]:
        return performance_records(self.reference, {name: each[place] for name, each in found.items()}, epoch)

    def _of_predictions(self, weight: Tensor, bias: Tensor | None, epoch: int) -> list[Record]:
        if self._unlabelled is None or self._predicted is None:
            return []
        return [logits_record(self._predicted, self._unlabelled.logits(weight, _detached(bias)), epoch)]


def _detached(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()


def side_by_side(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """The weights of several layers, shape (layers, classes, features), and their biases if they have any.

    Args:
        layers: Of one shape, with or without a bias alike.
    """
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    return torch.stack([layer.weight.detach() for layer in layers]), torch.stack(biases) if biases else None


def head_loss(layer: nn.Linear, name: str, samples: Judged) -> SmoothLoss | str:
    """The constants of the training loss as a function of the last layer, as ``last_layer_loss`` finds them.

    Args:
        layer: The dense network's last layer.
        name: Its name.
        samples: Features of the training samples.

    Returns:
        The constants, of which the curvature is certified; or why there are none.
    """
    count, width = samples.features.shape
    classes = len(layer.weight)
    try:
        # Features with their copy for the bias, probabilities, and the temporaries of one gradient.
        needed = 8 * count * (2 * width + 5 * classes)
        check_memory(f"the loss of {count:,} samples in {width:,} features", needed, None, "cpu", "take fewer samples")
        hessian = _hessian(layer, name, samples)
        return SmoothLoss(
            gradient_norm=gradient_norm(hessian, resamples=0).norm.value,
            curvature=hessian.global_bound().value,
            certified=True,
        )
    except CurvatureError as error:
        return str(error)


def _hessian(layer: nn.Linear, name: str, samples: Judged) -> LastLayerHessian:
    weight, bias = layer.weight.detach(), _detached(layer.bias)
    features = samples.features.to(weight.dtype).to(torch.float64)
    if bias is not None:
        features = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    probabilities = torch.softmax(samples.logits(weight, bias).to(torch.float64), dim=1)
    return LastLayerHessian(name, features, probabilities, samples.targets, bias=bias is not None)
