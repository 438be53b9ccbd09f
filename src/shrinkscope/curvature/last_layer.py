"""The Hessian of a linear last layer under softmax cross-entropy: exact, from features that are read once."""

import torch
from torch import Tensor, nn

from shrinkscope.curvature.base import Curvature
from shrinkscope.curvature.features import check_name, last_layer_of
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.samples import samples_of
from shrinkscope.curvature.snapshot import plain_copy
from shrinkscope.errors import CurvatureError
from shrinkscope.performance.data import Data
from shrinkscope.quantity import Quantity

_UNIT = "nats"


class LastLayerHessian(Curvature):
    """E[(diag p − ppᵀ) ⊗ hhᵀ], where h are the layer's inputs and p the softmax probabilities of its outputs.

    It is the Gauss-Newton matrix too, and positive semidefinite at all weights of the layer. Made by
    ``last_layer_hessian``.

    Args:
        name: The layer.
        features: h, float64, shape (n, features), followed by a 1 if the layer has a bias that is varied.
        probabilities: p, float64, shape (n, classes).
        targets: Class indices, shape (n,).
        bias: Whether the last feature is that of the bias.
        memory_limit: Bytes that computations may take; what is available when None.
    """

    kind = "last-layer Hessian"
    unit = _UNIT
    precision = torch.float64
    device = torch.device("cpu")

    def __init__(
        self,
        name: str,
        features: Tensor,
        probabilities: Tensor,
        targets: Tensor,
        *,
        bias: bool,
        memory_limit: int | None = None,
    ) -> None:
        self.features, self.probabilities, self.targets, self.bias = features, probabilities, targets, bias
        self.name, self.samples, self.memory_limit = name, len(features), memory_limit
        classes, width = probabilities.shape[1], features.shape[1] - int(bias)
        self.shapes = {f"{name}.weight": (classes, width)} | ({f"{name}.bias": (classes,)} if bias else {})

    @property
    def workspace(self) -> int:
        """Bytes that one product takes: three matrices like the probabilities."""
        return 3 * 8 * self.probabilities.numel() + 2 * 8 * self.dimension

    def product(self, vector: Tensor) -> Tensor:
        """The matrix times a vector: two small matrix products; see ``Curvature``."""
        moved = self.features @ self._matrix(vector).T
        weighted = self.probabilities * moved
        weighted -= self.probabilities * weighted.sum(dim=1, keepdim=True)
        return self._vector(weighted.T @ self.features / self.samples)

    def along(self, directions: Tensor) -> Tensor:
        """Variance under p of each sample's change of logits, along each direction; see ``Curvature``."""
        return torch.stack([self._variances(self._matrix(direction)) for direction in directions])

    def slopes(self, direction: Tensor) -> Tensor:
        """Derivative of each sample's loss along a direction; see ``Curvature``."""
        moved = self.features @ self._matrix(direction).T
        return (self._errors() * moved).sum(dim=1)

    def gradient(self) -> Tensor:
        """Gradient of the mean loss; see ``Curvature``."""
        return self._vector(self._errors().T @ self.features / self.samples)

    def traces(self) -> Tensor:
        """Trace of each sample's Hessian, (1 − ‖p‖²) ‖h‖², float64 of shape (samples,)."""
        return (1 - self.probabilities.square().sum(dim=1)) * self.features.square().sum(dim=1)

    def parts(self, number: int, generator: torch.Generator) -> list[Curvature]:
        """The curvatures of disjoint random parts of the samples; see ``Curvature``."""
        if self.samples < number:
            raise CurvatureError(
                f"{self.samples} samples cannot make {number} resamples; give more data or fewer resamples"
            )
        order = torch.randperm(self.samples, generator=generator, device=generator.device).to("cpu")
        return [self._on(order[part::number]) for part in range(number)]

    def global_bound(self) -> Quantity:
        """An upper bound on λ_max at *all* weights of this layer, in nats per weight², certified: ½ λ_max(E[hhᵀ]).

        The layers below fix h. diag p − ppᵀ is the covariance of a one-hot class drawn from p: along a unit vector a
        its form is the variance of a number between min a and max a, at most (max a − min a)²/4 ≤ (2 ‖a‖²)/4 = ½. So
        E[(diag p − ppᵀ) ⊗ hhᵀ] ≤ ½ I ⊗ E[hhᵀ] whatever p, and with it whatever the weights.

        Returns:
            The bound, enlarged by what rounding can take from it.

        Source: derived here, after Böhning (1992), Multinomial logistic regression algorithm; tested at random weights.
        """
        width = self.features.shape[1]
        check_memory(
            f"the second moments of {width:,} features",
            4 * 8 * width * width,
            self.memory_limit,
            "cpu",
            "use another machine: they do not get fewer with fewer samples",
        )
        moments = self.features.T @ self.features / self.samples
        # Rounding takes at most (samples) ε of the trace in the sums, and a few (width) ε of it in the eigenvalue.
        rounding = (self.samples + 10 * width) * torch.finfo(torch.float64).eps * float(moments.trace())
        largest = float(torch.linalg.eigvalsh(moments)[-1])
        return Quantity(value=0.5 * (largest + rounding), unit=f"{_UNIT} per weight²", status="bound")

    def _on(self, rows: Tensor) -> "LastLayerHessian":
        chosen = self.features[rows], self.probabilities[rows], self.targets[rows]
        return LastLayerHessian(self.name, *chosen, bias=self.bias, memory_limit=self.memory_limit)

    def _errors(self) -> Tensor:
        """Errors p − y, the derivative of each sample's loss in its logits."""
        errors = self.probabilities.clone()
        errors[torch.arange(self.samples), self.targets] -= 1
        return errors

    def _variances(self, matrix: Tensor) -> Tensor:
        moved = self.features @ matrix.T
        # Centred first: the difference of the mean square and the squared mean would cancel.
        moved -= (self.probabilities * moved).sum(dim=1, keepdim=True)
        return (self.probabilities * moved.square_()).sum(dim=1)

    def _matrix(self, vector: Tensor) -> Tensor:
        """The direction as (classes, features), the bias as the last column."""
        classes = self.probabilities.shape[1]
        if not self.bias:
            return vector.reshape(classes, -1)
        return torch.cat([vector[:-classes].reshape(classes, -1), vector[-classes:, None]], dim=1)

    def _vector(self, matrix: Tensor) -> Tensor:
        if not self.bias:
            return matrix.reshape(-1)
        return torch.cat([matrix[:, :-1].reshape(-1), matrix[:, -1]])


def last_layer_hessian(
    model: nn.Module,
    data: Data,
    *,
    layer: str | None = None,
    bias: bool = True,
    batch_size: int = 256,
    memory_limit: int | None = None,
) -> LastLayerHessian:
    """The exact Hessian of the mean cross-entropy in a network's last linear layer, at the present weights.

    Args:
        model: The network, whose outputs must be the logits that its last linear layer gives.
        data: (inputs, class indices) tensors, or an iterable of batches; read twice, once to count.
        layer: Name of the last layer, to be sure which it is; found when None.
        bias: Whether the layer's bias, if it has one, is varied with its weight.
        batch_size: Samples a forward pass when ``data`` are tensors.
        memory_limit: Bytes that the features and computations with them may take; what is available when None.

    Returns:
        The Hessian: float64, whatever the network, for 8 (features + classes) bytes a sample.

    Raises:
        CurvatureError: If the network does not end in a linear layer with weights of its own, weights or losses are not
            finite, or there is not enough memory.
        DataError: If the data are empty or do not fit the network.

    Source: math.md, section 5; derived from p = softmax(Wh) in docs/curvature.md; tested against curvlinops and against
        the dense Hessian of automatic differentiation.
    """
    plain = plain_copy(model)
    first = next(plain.parameters())
    samples = samples_of(data, batch_size, first.device, first.dtype)
    last = last_layer_of(plain, samples, memory_limit)
    check_name(last.name, layer, plain)
    bias = bias and last.layer.bias is not None
    features = torch.cat([last.features, torch.ones(len(last.features), 1)], dim=1) if bias else last.features
    probabilities = torch.softmax(last.logits, dim=1)
    return LastLayerHessian(
        last.name, features, probabilities, last.targets.to(torch.int64), bias=bias, memory_limit=memory_limit
    )
