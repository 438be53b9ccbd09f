"""Undoing reparametrisations by name: what ``torch.nn.utils.prune`` and ``parametrize`` do to a state dict's keys."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from shrinkscope.errors import WeightsError

_PARAMETRISATION = "parametrizations."


def plain_tensors(tensors: Mapping[str, Tensor], origin: str) -> dict[str, Callable[[], Tensor]]:
    """The effective weights under the names that the plain network gives them.

    Args:
        tensors: Name → tensor as saved; ``X_orig`` with ``X_mask`` becomes ``X``, their product (the layout of
            ``torch.nn.utils.prune``), and ``parametrizations.X.original`` with ``parametrizations.X.i.mask`` likewise.
        origin: Where they come from, for messages.

    Returns:
        Plain name → function that computes the effective tensor when it is needed.

    Raises:
        WeightsError: If a reparametrisation is not a mask: its effect cannot be known without the network's code.
    """
    plain: dict[str, Callable[[], Tensor]] = {}
    for name, tensor in tensors.items():
        if name.endswith("_mask") and f"{name[:-5]}_orig" in tensors:
            continue
        if name.endswith("_orig") and f"{name[:-5]}_mask" in tensors:
            plain[name[:-5]] = _masked(tensor, tensors[f"{name[:-5]}_mask"])
        elif _PARAMETRISATION in name:
            _add_parametrised(plain, name, tensors, origin)
        else:
            plain[name] = _unchanged(tensor)
    return plain


def _add_parametrised(
    plain: dict[str, Callable[[], Tensor]], name: str, tensors: Mapping[str, Tensor], origin: str
) -> None:
    prefix, _, rest = name.partition(_PARAMETRISATION)
    attribute, _, part = rest.partition(".")
    stem = f"{prefix}{_PARAMETRISATION}{attribute}."
    parts = [key[len(stem) :] for key in tensors if key.startswith(stem)]
    if sorted(parts) != ["0.mask", "original"]:
        raise WeightsError(
            f"{origin}: {prefix}{attribute} is parametrised by {', '.join(sorted(parts))}, and only masks can be "
            "undone without the network's code; pass the module itself, or save it after remove_parametrizations"
        )
    if part == "original":
        plain[f"{prefix}{attribute}"] = _masked(tensors[name], tensors[f"{stem}0.mask"])


def _unchanged(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _masked(original: Tensor, mask: Tensor) -> Callable[[], Tensor]:
    # where, not a product: NaN times a zero of the mask would stay NaN, and -1 times zero would become -0.
    return lambda: torch.where(mask.bool(), original, torch.zeros((), dtype=original.dtype, device=original.device))
