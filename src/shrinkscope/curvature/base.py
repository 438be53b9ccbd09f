"""What every curvature offers: products, and what each sample contributes along a direction."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkscope.curvature.snapshot import nearest
from shrinkscope.errors import CurvatureError

Delta = Mapping[str, Tensor] | Tensor
"""A direction in the weights: name → tensor (names left out do not move), or one flat vector."""


class Curvature(ABC):
    """A symmetric matrix of second derivatives of a mean loss, known through its products.

    Vectors are flat and float64 on the CPU: the parameters in the order of ``shapes``, each row-major.

    Attributes:
        kind: What matrix it is, for example ``"Hessian"``.
        shapes: Name of each parameter → its shape.
        samples: Number of samples the loss is the mean of.
        unit: Unit of the loss.
        precision: Floating type of the products.
        device: Where products are computed.
        memory_limit: Bytes that computations with it may take; what is available when None.
    """

    kind: str
    shapes: dict[str, tuple[int, ...]]
    samples: int
    unit: str
    precision: torch.dtype
    device: torch.device
    memory_limit: int | None

    @property
    def dimension(self) -> int:
        """Number of rows and columns: the weights that are varied."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    @property
    def description(self) -> str:
        """The matrix in words, for messages."""
        names = list(self.shapes)
        where = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"the {self.kind} of {where} ({self.dimension:,} weights)"

    @abstractmethod
    def product(self, vector: Tensor) -> Tensor:
        """The matrix times a vector, float64 of shape (dimension,), in loss per weight.

        Args:
            vector: Float64, shape (dimension,).
        """

    @abstractmethod
    def along(self, directions: Tensor) -> Tensor:
        """dᵀH_i d of each sample i along each direction d, float64 of shape (directions, samples), in one pass.

        Args:
            directions: Float64, shape (directions, dimension).
        """

    @abstractmethod
    def slopes(self, direction: Tensor) -> Tensor:
        """Derivative of each sample's loss along a direction, float64 of shape (samples,).

        Args:
            direction: Float64, shape (dimension,).
        """

    @abstractmethod
    def gradient(self) -> Tensor:
        """Gradient of the mean loss, float64 of shape (dimension,), in loss per weight."""

    def traces(self) -> Tensor | None:
        """Trace of each sample's matrix, float64 of shape (samples,), where there is a formula for it."""
        return None

    @abstractmethod
    def parts(self, number: int, generator: torch.Generator) -> "list[Curvature]":
        """The curvatures of disjoint parts of the samples.

        Args:
            number: How many parts.
            generator: Source of the random assignment.
        """

    @property
    @abstractmethod
    def workspace(self) -> int:
        """Bytes that one product takes on the device, besides its vectors."""

    def flat(self, delta: Delta) -> Tensor:
        """A direction as one vector.

        Args:
            delta: Name → tensor, where names left out do not move; or the vector itself.

        Returns:
            Float64 on the CPU, shape (dimension,).

        Raises:
            CurvatureError: If a name is not among the varied parameters, a shape differs, or a value is not finite.
        """
        vector = self._joined(delta) if isinstance(delta, Mapping) else delta.detach().to("cpu", torch.float64)
        if vector.shape != (self.dimension,):
            raise CurvatureError(f"the direction has shape {tuple(vector.shape)}, expected ({self.dimension},)")
        if not torch.isfinite(vector).all():
            raise CurvatureError("the direction holds NaN or infinite values; give finite differences of weights")
        return vector

    def _joined(self, delta: Mapping[str, Tensor]) -> Tensor:
        for name, value in delta.items():
            if name not in self.shapes:
                raise CurvatureError(f"{name} is not varied by {self.description}; {nearest((name,), [*self.shapes])}")
            if tuple(value.shape) != self.shapes[name]:
                raise CurvatureError(f"{name} has shape {tuple(value.shape)}, expected {self.shapes[name]}")
        pieces = []
        for name, shape in self.shapes.items():
            piece = delta.get(name)
            zeros = torch.zeros(torch.Size(shape).numel(), dtype=torch.float64)
            pieces.append(zeros if piece is None else piece.detach().to("cpu", torch.float64).reshape(-1))
        return torch.cat(pieces)
