"""Undoing reparametrisations by name: what ``torch.nn.utils.prune`` and ``parametrize`` do to a state dict's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.deferred import torch
from shrinkscope.errors import WeightsError
from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor

_PARAMETRISATION = "parametrizations."


def plain_tensors(stored: Mapping[str, TensorView], origin: str) -> dict[str, TensorView]:
    """The effective weights under the names that the plain network gives them.

    Args:
        stored: Name → tensor as saved; ``X_orig`` with ``X_mask`` becomes ``X``, their product (the layout of
            ``torch.nn.utils.prune``), and ``parametrizations.X.original`` with ``parametrizations.X.i.mask`` likewise.
        origin: Where they come from, for messages.

    Returns:
        Plain name → view of the effective tensor, which is computed when it is read.

    Raises:
        WeightsError: If a reparametrisation is not a mask: its effect cannot be known without the network's code; or
            if a mask has another shape than what it masks.
    """
    plain: dict[str, TensorView] = {}
    for name, view in stored.items():
        if name.endswith("_mask") and f"{name[:-5]}_orig" in stored:
            continue
        if name.endswith("_orig") and f"{name[:-5]}_mask" in stored:
            plain[name[:-5]] = _masked(name[:-5], view, stored[f"{name[:-5]}_mask"], origin)
        elif _PARAMETRISATION in name:
            _add_parametrised(plain, name, stored, origin)
        else:
            plain[name] = view
    return plain


def _add_parametrised(plain: dict[str, TensorView], name: str, stored: Mapping[str, TensorView], origin: str) -> None:
    prefix, _, rest = name.partition(_PARAMETRISATION)
    attribute, _, part = rest.partition(".")
    stem = f"{prefix}{_PARAMETRISATION}{attribute}."
    parts = [key[len(stem) :] for key in stored if key.startswith(stem)]
    if sorted(parts) != ["0.mask", "original"]:
        raise WeightsError(
            f"{origin}: {prefix}{attribute} is parametrised by {', '.join(sorted(parts))}, and only masks can be "
            "undone without the network's code; pass the module itself, or save it after remove_parametrizations"
        )
    if part == "original":
        plain[f"{prefix}{attribute}"] = _masked(f"{prefix}{attribute}", stored[name], stored[f"{stem}0.mask"], origin)


class _Masked(msgspec.Struct, frozen=True):
    """A tensor with its mask."""

    original: TensorView
    mask: TensorView

    def load(self) -> Tensor:
        return _where(self.original.read(), self.mask.read())

    def window(self, start: int, stop: int) -> Tensor:
        return _where(self.original.piece(start, stop), self.mask.piece(start, stop))


def _masked(name: str, original: TensorView, mask: TensorView, origin: str) -> TensorView:
    if original.shape != mask.shape:
        found = f"{list(original.shape)} and its mask {list(mask.shape)}"
        raise WeightsError(f"{origin}: {name} has the shape {found}; save the pruned module again")
    both = _Masked(original, mask)
    return TensorView(
        name=name,
        shape=original.shape,
        type=original.type,
        role=role_from_name(name, len(original.shape)),
        load=both.load,
        # Where both are in memory a window would only compute the whole again.
        window=both.window if original.window is not None and mask.window is not None else None,
    )


def _where(original: Tensor, mask: Tensor) -> Tensor:
    # where, not a product: NaN times a zero of the mask would stay NaN, and -1 times zero would become -0.
    return torch.where(mask.bool(), original, torch.zeros((), dtype=original.dtype, device=original.device))
