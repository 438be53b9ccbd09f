"""Which weights a pruning keeps: a frozen, validated mapping from layers to bool tensors."""

import math
import os
from collections.abc import Iterator, Mapping

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shrinkscope.compression.checks import listing
from shrinkscope.errors import CompressionError
from shrinkscope.weights import save_tensors

_FORMAT, _VERSION = "shrinkscope mask", "1"


class Mask(Mapping[str, Tensor]):
    """A pruning decision: layer → bool tensor of the weight's shape, True where the weight is kept.

    The mask holds copies and hands out copies, so that it stays what it was when it was checked. Two masks are equal
    when they have the same layers, shapes and entries; the order of layers does not matter.

    Args:
        kept: Layer → tensor of bool values, or of numbers that are exactly 0 (removed) or 1 (kept).

    Raises:
        CompressionError: If a name is no text, or an entry is neither 0 nor 1 (the layer and the value are named).

    Examples:
        >>> mask = Mask({"fc.weight": torch.tensor([[1.0, 0.0], [1.0, 1.0]])})
        >>> mask
        Mask(1 layer, 1 of 4 weights removed)
        >>> mask.sparsity, mask.removed("fc.weight"), mask.kept()
        (0.25, 1, 3)
    """

    __slots__ = ("_kept",)

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        self._kept = {name: _as_bool(name, values) for name, values in kept.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._entries(name).clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self._kept.keys() == other._kept.keys() and all(
            torch.equal(kept.cpu(), other._kept[name].cpu()) for name, kept in self._kept.items()
        )

    def __repr__(self) -> str:
        layers = f"{len(self)} layer{'' if len(self) == 1 else 's'}"
        return f"Mask({layers}, {self.removed()} of {self.size()} weights removed)"

    def size(self, name: str | None = None) -> int:
        """Number of weights that the mask decides on, in one layer or in all of them."""
        return sum(kept.numel() for kept in self._parts(name))

    def kept(self, name: str | None = None) -> int:
        """Number of weights kept, in one layer or in all of them."""
        return sum(int(kept.sum()) for kept in self._parts(name))

    def removed(self, name: str | None = None) -> int:
        """Number of weights removed, in one layer or in all of them."""
        return self.size(name) - self.kept(name)

    @property
    def sparsity(self) -> float:
        """Fraction of weights removed over all layers of the mask; NaN when they have no weights at all."""
        return self.removed() / self.size() if self.size() else math.nan

    def sparsity_of(self, name: str) -> float:
        """Fraction of weights removed in one layer; NaN when it has none."""
        return self.removed(name) / self.size(name) if self.size(name) else math.nan

    def applied_to(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights with the removed ones replaced by zero; the given tensors are not touched.

        Args:
            weights: Layer → weight; must have every layer of the mask, in the same shape.

        Returns:
            New tensors for the layers of the mask, the given tensors themselves for all others.

        Raises:
            CompressionError: If a layer of the mask is missing or has another shape.
        """
        for name in self:
            if name not in weights:
                raise CompressionError(f"the mask is for {name}, which is not there; the layers are {listing(weights)}")
            self.check_shape(name, weights[name])
        return {
            name: keep(weight, self._kept[name]) if name in self._kept else weight for name, weight in weights.items()
        }

    def check_shape(self, name: str, weight: Tensor) -> None:
        """Check that a layer of the mask fits a weight.

        Args:
            name: A layer of the mask.
            weight: The weight that it is meant for.

        Raises:
            CompressionError: If the shapes differ.
        """
        found = self._entries(name).shape
        if found != weight.shape:
            raise CompressionError(
                f"the mask of {name} has shape {tuple(found)}, the weight {tuple(weight.shape)}: "
                "the mask belongs to another network"
            )

    def _entries(self, name: str) -> Tensor:
        if name not in self._kept:
            raise KeyError(f"no layer {name!r} in this mask; its layers are {listing(self._kept)}")
        return self._kept[name]

    def _parts(self, name: str | None) -> list[Tensor]:
        return list(self._kept.values()) if name is None else [self._entries(name)]


def keep(weight: Tensor, kept: Tensor) -> Tensor:
    """The weight where ``kept`` is True, and exactly +0 elsewhere.

    Args:
        weight: Any floating-point tensor.
        kept: Bool tensor of the same shape, on any device.

    Returns:
        A new tensor, differentiable in ``weight``; the gradient at removed entries is zero.
    """
    # Not a product: NaN × 0 would stay NaN, and a negative weight would become -0.
    return torch.where(kept.to(weight.device), weight, torch.zeros((), dtype=weight.dtype, device=weight.device))


def save_mask(mask: Mask, path: str | os.PathLike[str]) -> None:
    """Write a mask as safetensors, one bool tensor a layer, all or nothing.

    Args:
        mask: The mask.
        path: The file to write; replaced when it exists.

    Raises:
        OutputError: If the file cannot be written.
    """
    save_tensors(path, mask, {"format": _FORMAT, "version": _VERSION})


def load_mask(path: str | os.PathLike[str]) -> Mask:
    """Read a mask that ``save_mask`` wrote.

    Args:
        path: The file.

    Returns:
        The mask; its layers come in the order of the file, which is alphabetical.

    Raises:
        CompressionError: If the file is missing, truncated, or not a mask of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise CompressionError(f"cannot read a mask from {path}: {reason}; expected a file of save_mask") from error
    found = (metadata.get("format"), metadata.get("version"))
    if found != (_FORMAT, _VERSION):
        raise CompressionError(
            f"{path} is no mask: its header says format {found[0]!r}, version {found[1]!r}; "
            f"expected {_FORMAT!r}, {_VERSION!r} as written by save_mask"
        )
    return Mask(tensors)


def _as_bool(name: object, values: object) -> Tensor:
    if not isinstance(name, str) or not isinstance(values, Tensor):
        raise CompressionError(
            f"mask entry {name!r} → {type(values).__name__}; expected the name of a layer and a tensor of its shape"
        )
    values = values.detach()
    if values.dtype != torch.bool:
        wrong = values[(values != 0) & (values != 1)]
        if wrong.numel():
            raise CompressionError(
                f"the mask of {name} holds {wrong[0].item()!r} ({wrong.numel()} such entries of {values.numel()}); "
                "expected only 0 (removed) and 1 (kept)"
            )
    return values.to(torch.bool, copy=True, memory_format=torch.contiguous_format)
