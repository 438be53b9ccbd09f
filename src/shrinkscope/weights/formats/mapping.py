"""Names mapped to tensors or arrays that are in memory already, or that are described."""

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import type_name
from shrinkscope.weights.formats.checks import checked_name, checked_shape, shown
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import TensorView

_DENSE = 1 << 32
"""Elements of the largest sparse tensor that is read, which must be done at once."""


def stored_of_mapping(
    state: Mapping[Any, Any], origin: str, view_of: Callable[[str, Tensor], TensorView] | None = None
) -> Stored:
    """The tensors of a state dict; those that share one storage are tied and listed once.

    Args:
        state: Name → tensor or NumPy array. Entries that are neither (an epoch counter, say) are passed over.
        origin: Where it comes from, for messages.
        view_of: Makes the view of a tensor that is described only (a meta tensor).

    Returns:
        Views under the names as stored.

    Raises:
        WeightsError: If there is no tensor at all, or the name or shape of one is absurd.
    """
    views: dict[str, TensorView] = {}
    tied: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    first_name: dict[Hashable, str] = {}
    for key, value in state.items():
        tensor = _as_tensor(value)
        if tensor is None and not _holds_tensors(value):
            continue
        name = checked_name(key, origin)
        if tensor is None:
            unreadable[name] = f"it is a {type(value).__name__} of tensors, packed for the kernels of one library"
        elif tensor.is_complex():
            unreadable[name] = "its numbers are complex"
        elif math.prod(checked_shape(tensor.shape, name, origin)) > _DENSE and tensor.layout != torch.strided:
            unreadable[name] = f"it is sparse, and its shape {list(tensor.shape)} is too large to be read dense"
        elif (first := first_name.setdefault(_identity(name, tensor), name)) != name:
            tied[name] = first
        else:
            views[name] = view_of(name, tensor) if view_of is not None and tensor.is_meta else view(name, tensor)
    if not views and not unreadable:
        found = ", ".join(sorted(shown(key) for key in state)[:5]) or "nothing"
        raise WeightsError(f"{origin}: no tensors found (entries: {found}); expected names mapped to tensors")
    return Stored(views=views, tied=tied, unreadable=unreadable)


def view(name: str, tensor: Tensor) -> TensorView:
    """A view of a tensor in memory; sparse and quantised ones and their subclasses are read as the plain numbers.

    Args:
        name: Its name.
        tensor: The tensor.
    """
    role = role_from_name(name, tensor.dim())
    if tensor.is_quantized or (not _is_plain(tensor) and hasattr(tensor, "dequantize")):
        return _dequantised(name, tensor)
    load = tensor.to_dense if tensor.layout != torch.strided else partial(_same, tensor)
    return TensorView(name=name, shape=tuple(tensor.shape), type=type_name(tensor.dtype), role=role, load=load)


def _dequantised(name: str, tensor: Tensor) -> TensorView:
    shape = tuple(tensor.shape)
    try:
        sample = tensor[:1].dequantize()
        if tensor.dim() == 2 and sample.shape == (1, shape[1]):
            return view_by_rows(name, shape, sample.dtype, lambda first, last: tensor[first:last].dequantize())
    except (NotImplementedError, RuntimeError, AssertionError, TypeError):
        pass  # This class of tensors cannot be sliced; it is in memory anyway.
    whole = tensor.dequantize()
    role = role_from_name(name, tensor.dim())
    return TensorView(name=name, shape=shape, type=type_name(whole.dtype), role=role, load=tensor.dequantize)


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _as_tensor(value: object) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(value)) if value.flags.writeable else torch.tensor(value)
    return None


def _holds_tensors(value: object) -> bool:
    return isinstance(value, (tuple, list)) and any(isinstance(item, Tensor) for item in value)


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, nn.Parameter)


def _identity(name: str, tensor: Tensor) -> Hashable:
    # Empty tensors all live at address zero without sharing anything; others have no one address.
    if not tensor.numel() or not _is_plain(tensor) or tensor.is_quantized or tensor.layout != torch.strided:
        return name
    place = tensor.untyped_storage()
    start = getattr(place, "_checkpoint_offset", None) if tensor.is_meta else place.data_ptr()
    return (start, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
