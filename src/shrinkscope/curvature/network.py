"""Hessian and Gauss-Newton matrix of a network's mean loss as products: any layers, any smooth loss."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from shrinkscope.curvature.base import Curvature
from shrinkscope.curvature.differentiate import along, load_curvlinops, second_along, second_derivatives
from shrinkscope.curvature.loss import MeanLoss
from shrinkscope.curvature.samples import Samples

Kind = Literal["Hessian", "Gauss-Newton matrix"]


class NetworkCurvature(Curvature):
    """The Hessian or Gauss-Newton matrix of the mean loss over samples, in chosen parameters of a network.

    Made by ``hessian`` and ``gauss_newton``, which check what goes in.

    Args:
        kind: Which matrix.
        plain: A plain copy of the network in evaluation mode.
        parameters: Name → parameter of the copy that is varied.
        loss: The loss.
        data: The samples, read once for each product.
        samples: Their number.
        activations: Bytes of the activations of the largest batch.
        memory_limit: Bytes that computations may take; what is available when None.
    """

    def __init__(
        self,
        kind: Kind,
        plain: nn.Module,
        parameters: dict[str, nn.Parameter],
        loss: MeanLoss,
        data: Samples,
        samples: int,
        activations: int,
        memory_limit: int | None,
    ) -> None:
        self.kind, self.samples, self.unit, self.memory_limit = kind, samples, loss.unit, memory_limit
        self.shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        self.precision, self.device = data.dtype, data.device
        self.plain, self.parameters, self.loss, self.data, self.activations = plain, parameters, loss, data, activations
        self._operator: Any = None

    @property
    def workspace(self) -> int:
        """Bytes that one product takes on the device, besides its vectors."""
        # Forward over reverse mode: activations, their tangents, and the gradients of both; and in parameters the
        # vector, the gradient, its tangent, and the sum over batches.
        # Outputs of modules are what can be counted; with additions and activation functions between them, five times
        # their bytes were measured on a residual network.
        return 6 * self.activations + 4 * self.dimension * self.precision.itemsize

    def product(self, vector: Tensor) -> Tensor:
        """The matrix times a vector; see ``Curvature``."""
        with second_derivatives(self.description):
            result = self._linear_operator() @ vector.to(self.device, self.precision)
        return result.detach().to("cpu", torch.float64)

    def along(self, directions: Tensor) -> Tensor:
        """dᵀH_i d of each sample along each direction; see ``Curvature``."""
        tangents = [self._named(direction) for direction in directions]
        bent = self._hessian_along if self.kind == "Hessian" else self._gauss_newton_along
        columns = []
        with second_derivatives(self.description), torch.no_grad():
            for inputs, targets in self.data:
                rows = [bent(inputs, targets, tangent).to("cpu", torch.float64) for tangent in tangents]
                columns.append(torch.stack(rows))
        return torch.cat(columns, dim=1)

    def slopes(self, direction: Tensor) -> Tensor:
        """Derivative of each sample's loss along a direction; see ``Curvature``."""
        tangent = self._named(direction)
        pieces = []
        with second_derivatives(self.description), torch.no_grad():
            for inputs, targets in self.data:
                slopes = along(self._losses(inputs, targets), self._values(), tangent)[1]
                pieces.append(slopes.to("cpu", torch.float64))
        return torch.cat(pieces)

    def gradient(self) -> Tensor:
        """Gradient of the mean loss; see ``Curvature``."""
        total = torch.zeros(self.dimension, dtype=torch.float64)
        with second_derivatives(self.description):
            for inputs, targets in self.data:
                losses = self._losses(inputs, targets)
                slopes = grad(lambda values, losses=losses: losses(values).mean())(self._values())
                flat = torch.cat([slopes[name].reshape(-1) for name in self.shapes])
                total += flat.to("cpu", torch.float64) * (len(inputs) / self.samples)
        return total

    def parts(self, number: int, generator: torch.Generator) -> list[Curvature]:
        """The curvatures of disjoint parts of the samples; see ``Curvature``."""
        return [self._on(part) for part in self.data.parts(number, generator)]

    def _on(self, part: Samples) -> Curvature:
        samples = sum(len(inputs) for inputs, _ in part.read())
        arguments = (self.plain, self.parameters, self.loss, part, samples, self.activations, self.memory_limit)
        return NetworkCurvature(self.kind, *arguments)  # type: ignore[arg-type]

    def _linear_operator(self) -> Any:
        if self._operator is None:
            curvlinops = load_curvlinops()
            chosen = {"Hessian": curvlinops.HessianLinearOperator, "Gauss-Newton matrix": curvlinops.GGNLinearOperator}
            fitting = _Fitting(self.loss)
            self._operator = chosen[self.kind](
                self.plain,
                fitting,
                list(self.parameters.values()),
                self.data,
                check_deterministic=False,
                num_data=self.samples,
            )
        return self._operator

    def _values(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def _named(self, direction: Tensor) -> dict[str, Tensor]:
        sizes = [torch.Size(shape).numel() for shape in self.shapes.values()]
        pieces = direction.to(self.device, self.precision).split(sizes)
        return {name: piece.reshape(self.shapes[name]) for name, piece in zip(self.shapes, pieces, strict=True)}

    def _losses(self, inputs: Tensor, targets: Tensor) -> Callable[[dict[str, Tensor]], Tensor]:
        return lambda values: self.loss.each(functional_call(self.plain, values, (inputs,)), targets)

    def _hessian_along(self, inputs: Tensor, targets: Tensor, tangent: dict[str, Tensor]) -> Tensor:
        return second_along(self._losses(inputs, targets), self._values(), tangent)

    def _gauss_newton_along(self, inputs: Tensor, targets: Tensor, tangent: dict[str, Tensor]) -> Tensor:
        outputs, moved = along(lambda values: functional_call(self.plain, values, (inputs,)), self._values(), tangent)
        return second_along(lambda z: self.loss.each(z, targets), outputs, moved)


class _Fitting(nn.Module):
    """The loss as curvlinops calls it."""

    def __init__(self, loss: MeanLoss) -> None:
        super().__init__()
        self.loss, self.reduction = loss, "mean"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss.module(outputs, self.loss.fitting(outputs, targets))
