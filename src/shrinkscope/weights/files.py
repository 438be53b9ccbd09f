"""Weights in files: .safetensors, .pt/.pth (weights only: no code is ever unpickled) and .npz."""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shrinkscope.errors import WeightsError
from shrinkscope.weights.statedict import weights_of_state_dict
from shrinkscope.weights.view import Weights

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "weights")


def weights_of_file(path: Path) -> Weights:
    """The tensors of a checkpoint file.

    Args:
        path: A .safetensors, .pt, .pth, .bin or .npz file.

    Returns:
        Its tensors under plain names; a checkpoint that wraps its state dict (``{"state_dict": …}``) is unwrapped.

    Raises:
        WeightsError: If it does not exist, is of another format, truncated, or would need to run code to be read.
    """
    if not path.exists():
        raise WeightsError(f"{path}: no such file")
    if path.is_dir():
        raise WeightsError(f"{path}: is a directory; give a file: {', '.join(sorted(_READERS))}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found = path.suffix or "no suffix"
        raise WeightsError(f"{path}: unknown format ({found}); expected one of {', '.join(sorted(_READERS))}")
    return weights_of_state_dict(reader(path), origin=str(path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a readable safetensors file ({_first_line(error)}); is it truncated?"
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: reading it would run code stored in it, which shrinkscope never does ({_first_line(error)}); "
            "save the weights alone: torch.save(model.state_dict(), path)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: not a readable PyTorch file ({_first_line(error)}); is it truncated?") from error
    return _unwrap(loaded, path)


def _unwrap(loaded: object, path: Path) -> Mapping[str, Any]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path}: holds a {type(loaded).__name__}; expected a state dict (names mapped to tensors)")
    if not any(isinstance(value, Tensor) for value in loaded.values()):
        for key in _WRAPPERS:
            if isinstance(loaded.get(key), Mapping):
                return loaded[key]
    return loaded


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        # Opened here, not by NumPy: it leaves the file open when the archive turns out to be bad.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise WeightsError(f"{path}: not a readable .npz file ({_first_line(error)}); is it truncated?") from error
        raise WeightsError(
            f"{path}: holds pickled objects, which could run code; save plain arrays: np.savez(path, **arrays)"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: not a readable .npz file ({_first_line(error)}); is it truncated?") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:160]


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".bin": _read_torch,
    ".npz": _read_npz,
}
