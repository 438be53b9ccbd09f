"""N:M pruning: of every M weights in a row the N largest stay, which is what kernels for sparse matrices take."""

import re
from collections.abc import Mapping

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import as_layers, check_finite, where
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.scope import selected
from shrinkscope.errors import CompressionError
from shrinkscope.weights import LayersLike


class PatternPruning(
    msgspec.Struct, frozen=True, kw_only=True, tag="pattern", tag_field="kind", forbid_unknown_fields=True
):
    """Keeps the N largest magnitudes of every M consecutive weights of a row.

    Consecutive are the input features of a linear layer, and the input channels of a convolution at each place of its
    kernel (dimension 1 of the weight), which is how kernels for sparse matrices read them. What is left over at the end
    of a row that is no multiple of M stays as it is: a layer of fewer than M inputs loses nothing.

    Attributes:
        pattern: ``"N:M"``, such as ``"2:4"``, with 1 ≤ N < M.
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If the pattern is none.

    Examples:
        >>> method = PatternPruning(pattern="2:4")
        >>> str(method)
        'lowest magnitude 2:4'
        >>> method.mask({"fc.weight": torch.tensor([[3.0, -1.0, 0.5, -2.0, 0.1]])})["fc.weight"].tolist()
        [[True, False, False, True, True]]

    Source: Mishra et al. (2021), "Accelerating sparse deep neural networks".
    """

    pattern: str
    layers: LayersLike = None

    def __post_init__(self) -> None:
        as_pattern(self.pattern)
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))

    def __str__(self) -> str:
        return f"lowest magnitude {self.pattern}{where(self.layers)}"

    def mask(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Mask:
        """The mask that keeps N of every M; of equal magnitudes the first go.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Not used; every method takes one.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values, is not floating point, or has fewer than
                two dimensions.
            SelectionError: If no layer is selected.
        """
        kept, length = as_pattern(self.pattern)
        return Mask({name: _kept(name, w, kept, length) for name, w in selected(weights, self.layers).items()})

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights with those outside ``mask(weights)`` set to zero; layers not selected are the same tensors."""
        return self.mask(weights, generator).applied_to(weights)


def as_pattern(text: object) -> tuple[int, int]:
    """N and M of a text such as ``"2:4"``.

    Args:
        text: What the user gave.

    Raises:
        CompressionError: If it is no such text, or not 1 ≤ N < M.
    """
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text) if isinstance(text, str) else None
    kept, length = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= kept < length:
        raise CompressionError(f"pattern is {text!r}; expected N:M with 1 ≤ N < M, such as '2:4'")
    return kept, length


def _kept(name: str, weight: Tensor, kept: int, length: int) -> Tensor:
    check_finite(name, weight)
    if weight.dim() < 2:
        raise CompressionError(
            f"{name} has {weight.dim()} dimensions and no rows of inputs; leave it out with layers=…"
        )
    magnitudes = weight.detach().movedim(1, -1).abs()
    whole = magnitudes.shape[-1] // length * length
    groups = magnitudes[..., :whole].reshape(-1, length)
    # Stable, so that of equal magnitudes the first go, as in MagnitudePruning.
    lowest = groups.argsort(dim=1, stable=True)[:, : length - kept]
    stays = torch.ones_like(groups, dtype=torch.bool).scatter_(1, lowest, False)
    flags = torch.ones(magnitudes.shape, dtype=torch.bool, device=weight.device)
    flags[..., :whole] = stays.view(*magnitudes.shape[:-1], whole)
    return flags.movedim(-1, 1).contiguous()
