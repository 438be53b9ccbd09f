"""Low rank: replace each weight by the nearest matrix of smaller rank."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import as_fraction, as_integer, as_layers, check_finite, percent, rows, where
from shrinkscope.compression.count import nearest_count
from shrinkscope.compression.scope import selected
from shrinkscope.errors import CompressionError
from shrinkscope.weights import LayersLike


class Factors(NamedTuple):
    """A matrix as a product: ``left`` (output channels, rank) times ``right`` (rank, everything else), in float64."""

    left: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        """Number of columns of ``left``: the rank of the product, or more when singular values vanish."""
        return self.left.shape[1]


class LowRank(msgspec.Struct, frozen=True, kw_only=True, tag="low_rank", tag_field="kind", forbid_unknown_fields=True):
    """Truncates the singular value decomposition of each weight, reshaped to (output channels, everything else).

    The network keeps dense weights that have the smaller rank; ``stored_parameters`` says what they would take as
    factors. Exactly one of rank, ratio and energy is given. A layer whose rank is not reduced stays as it is.

    Attributes:
        rank: The rank to keep, at least 1; layers of smaller full rank stay unchanged.
        ratio: The rank as a fraction of the full rank min(rows, columns), in (0, 1]; at least rank 1 is kept.
        energy: The smallest rank that keeps this fraction of the sum of squared weights, in (0, 1].
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If none or several of rank, ratio and energy are given, or one is out of range.

    Examples:
        >>> method = LowRank(rank=1)
        >>> str(method)
        'low rank 1'
        >>> method.stored_parameters({"fc.weight": torch.ones(10, 6)})
        {'fc.weight': 16}

    Source: Eckart & Young (1936): no matrix of that rank is nearer in the sense of squares.
    """

    rank: int | None = None
    ratio: float | None = None
    energy: float | None = None
    layers: LayersLike = None

    def __post_init__(self) -> None:
        given = {what: value for what in ("rank", "ratio", "energy") if (value := getattr(self, what)) is not None}
        if len(given) != 1:
            found = " and ".join(f"{what}={value!r}" for what, value in given.items()) or "none"
            raise CompressionError(f"LowRank got {found}; expected exactly one of rank, ratio and energy")
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        what, value = given.popitem()
        number = as_integer(what, value, 1) if what == "rank" else as_fraction(what, value)
        if number == 0:
            raise CompressionError(f"{what} is {value!r}; expected a fraction above 0 and at most 1")
        msgspec.structs.force_setattr(self, what, number)

    def __str__(self) -> str:
        if self.rank is not None:
            size = str(self.rank)
        elif self.ratio is not None:
            size = f"{percent(self.ratio)} of full"
        else:
            size = f"{percent(self.energy or 0.0)} energy"
        return f"low rank {size}{where(self.layers)}"

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights replaced by their nearest matrices of the smaller rank.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Not used; every method takes one.

        Returns:
            New tensors of the same shapes and types for the selected layers, the given tensors for all others. The
            rank is exact up to the rounding of the weight's type.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values, is not floating point or has no
                dimensions.
            SelectionError: If no layer is selected.
        """
        new = {}
        for name, weight in selected(weights, self.layers).items():
            factors = self.factors(name, weight)
            # The weight itself, when its rank is not reduced: no rounding then.
            product = weight.detach().clone() if factors is None else factors.left @ factors.right
            new[name] = product.reshape(weight.shape).to(weight.dtype)
        return {**weights, **new}

    def factors(self, name: str, weight: Tensor) -> Factors | None:
        """The two factors of a weight, the singular values shared between neither: they are in ``left``.

        Args:
            name: The layer, for messages.
            weight: Its weight.

        Returns:
            The factors in float64, or None when the rank is not reduced.

        Raises:
            CompressionError: As ``compress`` does.
        """
        matrix = _matrix(name, weight)
        full = min(matrix.shape)
        if self.energy is None and self._kept(full) >= full:
            return None
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        kept = self._kept(full, s)
        return Factors(u[:, :kept] * s[:kept], v[:kept]) if kept < full else None

    def stored_parameters(self, weights: Mapping[str, Tensor]) -> dict[str, int]:
        """How many numbers the factorised form of each selected layer stores: rank × (rows + columns).

        Args:
            weights: Layer → weight, before compression.

        Returns:
            Layer → count, exact. A layer whose rank is not reduced counts its dense weights; factors of a rank above
            rows·columns/(rows + columns) count more than those, and this says so.

        Raises:
            CompressionError: As ``compress`` does.
            SelectionError: If no layer is selected.
        """
        stored = {}
        for name, weight in selected(weights, self.layers).items():
            matrix = _matrix(name, weight)
            full = min(matrix.shape)
            kept = self._kept(full, None if self.energy is None else torch.linalg.svdvals(matrix))
            stored[name] = kept * sum(matrix.shape) if kept < full else weight.numel()
        return stored

    def _kept(self, full: int, singular_values: Tensor | None = None) -> int:
        """The rank to keep of a full rank; energy alone needs the singular values."""
        if self.rank is not None:
            return min(self.rank, full)
        if self.ratio is not None:
            return min(full, max(1, nearest_count(self.ratio, full)))
        if self.energy is None or singular_values is None or not full:
            return full
        running = singular_values.square().cumsum(0)
        return min(full, int(torch.searchsorted(running, self.energy * running[-1])) + 1)


def _matrix(name: str, weight: Tensor) -> Tensor:
    check_finite(name, weight)
    return rows(name, weight.detach()).to(torch.float64)
