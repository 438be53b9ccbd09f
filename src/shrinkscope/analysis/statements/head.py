"""A network's last linear layer under cross-entropy: the loss as a function of its weights alone, in float64."""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.curvature import LastLayerHessian, largest_eigenvalue, last_layer_hessian
from shrinkscope.performance.data import Data


class Head:
    """The last linear layer with everything below it fixed: a convex loss in float64, gradients and curvatures exact.

    Args:
        model: The network.
        data: (inputs, class indices).

    Raises:
        CurvatureError: If the network does not end in a linear layer of its own.
        DataError: If the data are empty or do not fit.
    """

    def __init__(self, model: nn.Module, data: Data) -> None:
        self._hessian = last_layer_hessian(model, data, bias=False)
        layer = model.get_submodule(self._hessian.name)
        assert isinstance(layer, nn.Linear)
        self.name = f"{self._hessian.name}.weight"
        self.weights: Float[Tensor, "classes features"] = layer.weight.detach().to("cpu", torch.float64)
        self._bias = None if layer.bias is None else layer.bias.detach().to("cpu", torch.float64)

    @cached_property
    def curvature(self) -> float:
        """An upper bound on the Hessian's largest eigenvalue at all weights, in nats per weight²."""
        return self._hessian.global_bound().value

    def loss(self, weights: Float[Tensor, "classes features"]) -> float:
        """Mean cross-entropy in nats at other weights of this layer."""
        return float(cross_entropy(self._logits(weights), self._hessian.targets))

    def slope(self, weights: Float[Tensor, "classes features"]) -> tuple[float, Tensor]:
        """Mean cross-entropy in nats and its gradient."""
        return self.loss(weights), self._at(weights).gradient().reshape(self.weights.shape)

    def largest_eigenvalue(self, weights: Float[Tensor, "classes features"]) -> float:
        """λ_max of the Hessian at other weights, in nats per weight²."""
        return largest_eigenvalue(self._at(weights), resamples=0).eigenvalue.value

    def _logits(self, weights: Tensor) -> Tensor:
        logits = self._hessian.features @ weights.T
        return logits if self._bias is None else logits + self._bias

    def _at(self, weights: Tensor) -> LastLayerHessian:
        probabilities = torch.softmax(self._logits(weights), dim=1)
        known = self._hessian
        return LastLayerHessian(known.name, known.features, probabilities, known.targets, bias=False)
