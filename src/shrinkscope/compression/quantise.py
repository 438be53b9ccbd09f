"""Uniform quantisation: round weights to a few equally spaced levels."""

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import as_integer, as_layers, check_choice, check_finite, rows, where
from shrinkscope.compression.scope import selected
from shrinkscope.weights import LayersLike

Granularity = Literal["tensor", "channel"]
MOST_BITS = 16


class UniformQuantisation(
    msgspec.Struct, frozen=True, kw_only=True, tag="uniform_quantisation", tag_field="kind", forbid_unknown_fields=True
):
    """Rounds weights to symmetric, equally spaced levels, and returns the rounded weights in their own type.

    With b ≥ 2 bits the levels are q·step for q = −L … L, where L = 2^(b−1) − 1 and step = max|w| / L: 2^b − 1 levels,
    zero and both extremes among them, and no weight moves by more than half a step (plus the rounding of its type).
    One bit leaves no room for a zero level: the levels are ±mean|w| over the weights that are not zero, which is the
    nearest such pair in the sense of squares. With any number of bits a zero stays zero, so quantising a pruned
    network keeps its sparsity.

    Attributes:
        bits: Bits for each weight, 1 to 16.
        granularity: One step for the whole ``tensor``, or one for each output ``channel`` (dimension 0).
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If an option is out of range.

    Examples:
        >>> method = UniformQuantisation(bits=2)
        >>> str(method)
        'uniform 2 bits (tensor)'
        >>> method.compress({"fc.weight": torch.tensor([[-1.0, 0.4, 0.6]])})["fc.weight"].tolist()
        [[-1.0, 0.0, 1.0]]

    Source: one bit: Rastegari et al. (2016), "XNOR-Net", eq. (6); the rest derived here
    (tests/compression/test_quantise.py checks levels, half-step bound and optimality).
    """

    bits: int
    granularity: Granularity = "tensor"
    layers: LayersLike = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "bits", as_integer("bits", self.bits, 1, MOST_BITS))
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        check_choice("granularity", self.granularity, get_args(Granularity))

    def __str__(self) -> str:
        bits = "1 bit" if self.bits == 1 else f"{self.bits} bits"
        return f"uniform {bits} ({self.granularity}{where(self.layers)})"

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights rounded to the levels.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Not used; every method takes one.

        Returns:
            New tensors of the same shapes and types for the selected layers, the given tensors for all others.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values, is not floating point, or (by channel)
                has no dimensions.
            SelectionError: If no layer is selected.
        """
        new = {name: self._quantised(name, weight) for name, weight in selected(weights, self.layers).items()}
        return {**weights, **new}

    def step(self, name: str, weight: Tensor) -> Tensor:
        """The distance between neighbouring levels, in the unit of the weights.

        Args:
            name: The layer, for messages.
            weight: Its weight before quantisation.

        Returns:
            float64, shape (1, 1) by tensor, (channels, 1) by channel; zero where all weights are zero.

        Raises:
            CompressionError: As ``compress`` does.
        """
        check_finite(name, weight)
        matrix = self._matrix(name, weight)
        return 2 * _mean_magnitude(matrix) if self.bits == 1 else _largest(matrix) / self._levels

    @property
    def _levels(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def _matrix(self, name: str, weight: Tensor) -> Tensor:
        """The weight in float64, one row for each step."""
        flat = rows(name, weight) if self.granularity == "channel" else weight.reshape(1, -1)
        return flat.detach().to(torch.float64)

    def _quantised(self, name: str, weight: Tensor) -> Tensor:
        check_finite(name, weight)
        if not weight.numel():
            return weight.detach().clone()
        matrix = self._matrix(name, weight)
        rounded = matrix.sign() * _mean_magnitude(matrix) if self.bits == 1 else self._rounded(matrix)
        # Adding +0 turns the -0 of a small negative weight into +0.
        return (rounded + 0.0).reshape(weight.shape).to(weight.dtype)

    def _rounded(self, matrix: Tensor) -> Tensor:
        largest = _largest(matrix)
        # A row of zeros divides by 1 instead of 0. Scaling to [-1, 1] first keeps the smallest float64 numbers from
        # overflowing or vanishing, and makes the extremes come out exactly.
        units = matrix / torch.where(largest > 0, largest, 1.0)
        return torch.round(units * self._levels) / self._levels * largest


def _largest(matrix: Tensor) -> Tensor:
    if not matrix.shape[1]:
        return matrix.new_zeros(matrix.shape[0], 1)
    return matrix.abs().amax(dim=1, keepdim=True)


def _mean_magnitude(matrix: Tensor) -> Tensor:
    """Mean of |w| over the entries that are not zero, for each row; zero for a row of zeros."""
    return matrix.abs().sum(dim=1, keepdim=True) / (matrix != 0).sum(dim=1, keepdim=True).clamp(min=1)
