"""Weights given as a mapping of names to tensors: a state dict, or arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkscope.errors import WeightsError
from shrinkscope.weights.reparametrised import plain_tensors
from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import TensorView, Weights


def weights_of_state_dict(state: Mapping[str, Any], origin: str = "state dict") -> Weights:
    """The tensors of a state dict; tensors that share one storage are tied and listed once.

    Args:
        state: Name → tensor or NumPy array. Entries that are neither (an epoch counter, say) are passed over.
        origin: Where it comes from, for messages.

    Returns:
        Effective tensors under plain names.

    Raises:
        WeightsError: If it holds no tensor at all.
    """
    tensors = {name: tensor for name, value in state.items() if (tensor := _as_tensor(value)) is not None}
    if not tensors:
        found = ", ".join(sorted(map(str, state))[:5]) or "nothing"
        raise WeightsError(f"{origin}: no tensors found (entries: {found}); expected names mapped to tensors")
    tied, listed = _tied(tensors)
    views = []
    for name, load in plain_tensors(listed, origin).items():
        stored = load()
        role = role_from_name(name, stored.dim())
        views.append(TensorView(name=name, shape=tuple(stored.shape), dtype=stored.dtype, role=role, load=load))
    return Weights(views, origin=origin, tied=tied)


def _as_tensor(value: object) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(value)) if value.flags.writeable else torch.tensor(value)
    return None


def _tied(tensors: Mapping[str, Tensor]) -> tuple[dict[str, str], dict[str, Tensor]]:
    first_name: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    listed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        # Empty tensors all live at address zero without sharing anything.
        if tensor.numel() and key in first_name:
            tied[name] = first_name[key]
        else:
            first_name[key] = name
            listed[name] = tensor
    return tied, listed
