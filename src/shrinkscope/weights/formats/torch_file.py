"""PyTorch's own files, weights only: no code stored in them is ever run, and no numbers are read on opening."""

import importlib.util
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import type_name
from shrinkscope.weights.formats.archive import data_offset, member_ends
from shrinkscope.weights.formats.checks import checked_shape, first_line
from shrinkscope.weights.formats.mapping import stored_of_mapping
from shrinkscope.weights.formats.span import FileSpan
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_rows
from shrinkscope.weights.remote.path import AnyPath, RemotePath
from shrinkscope.weights.view import TensorView

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "weights")

_DIGITS = 8
"""Of the largest alignment that is believed."""

_WHOLE = 1 << 28
"""Bytes of the largest object in a storage that is fetched whole."""

_REPEATED = 1 << 28
"""Elements of the largest tensor that may stand for fewer numbers than it has (an expanded one)."""


def read_torch(path: AnyPath) -> Stored:
    """The tensors of a .pt, .pth or .bin file.

    Args:
        path: A file of torch.save, in the zip format (read in windows) or the format before PyTorch 1.6 (read whole).

    Returns:
        Views of them; a checkpoint that wraps its state dict (``{"state_dict": …}``) is unwrapped.

    Raises:
        WeightsError: If it is damaged, holds something else, or would need to run code to be read.
    """
    described = _unwrap(_described(path), path)
    if not any(isinstance(value, Tensor) and value.is_meta for value in described.values()):
        return stored_of_mapping(described, str(path))
    size = path.stat().st_size
    return stored_of_mapping(described, str(path), lambda name, tensor: _in_file(name, tensor, path, size))


def _described(path: AnyPath) -> object:
    """What the file holds, with tensors that know their place in it, or with the tensors themselves."""
    # Any exception means a damaged file: the opcodes of a pickle, even of those allowed, reach most of Python's.
    try:
        with path.open("rb") as file:
            zipped = zipfile.is_zipfile(file)
        if not zipped:
            return _load(path, "cpu")
        records = _records(path)
        if records is None:
            return _load(path, "cpu")
        try:
            described = _load(path, "meta")
        except WeightsError:
            raise
        except Exception:
            # Either it is damaged, or it holds tensors that cannot be described without their numbers: sparse ones.
            return _load(path, "cpu", mmap=True)
        return described if _placed(described, records) else _load(path, "cpu", mmap=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        if "torchao" in str(error) and importlib.util.find_spec("torchao") is not None:
            return _with_torchao(path)
        raise _refusal(path, error) from error
    except Exception as error:
        raise _damage(path, error) from error


def _with_torchao(path: AnyPath) -> object:
    import torchao.quantization  # noqa: F401 (importing it is what tells PyTorch that its classes are safe)

    try:
        return _load(path, "cpu", mmap=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except Exception as error:
        raise _damage(path, error) from error


def _load(path: AnyPath, place: str, *, mmap: bool = False) -> object:
    if isinstance(path, RemotePath):
        _require_small(path, place)
    elif mmap or place == "meta":
        return torch.load(path, map_location=place, weights_only=True, mmap=mmap or None)
    # Opened here: torch.load leaves the file open when a legacy file turns out to be bad.
    with path.open("rb") as file:
        return torch.load(file, map_location=place, weights_only=True)


def _require_small(path: RemotePath, place: str) -> None:
    """Refuse to fetch a large file whole, where its tensors cannot be described without their numbers."""
    size = path.stat().st_size
    if place != "meta" and size > _WHOLE:
        raise WeightsError(
            f"{path}: PyTorch can read it only whole, all {size} bytes; download it, or save it as .safetensors"
        )


def _placed(described: object, records: Mapping[int, int]) -> bool:
    """Whether PyTorch says of every tensor where it lies, and the archive has a record of that size there.

    Old releases of PyTorch do not say it, nor does any for odd kinds of tensors; and the places are computed from how
    torch.save writes, which an archive that was packed again by something else does not follow.
    """
    return not isinstance(described, Mapping) or all(
        not tensor.is_meta
        or (
            type(tensor) in (Tensor, torch.nn.Parameter)
            and (place := _offset(tensor)) is not None
            and tensor.untyped_storage().nbytes() <= records.get(place, 0 if tensor.numel() == 0 else -1)
        )
        for tensor in _tensors(described)
    )


def _records(path: AnyPath) -> dict[int, int] | None:
    """Where the stored records of numbers begin → their size; None where their bytes come in the other order.

    PyTorch turns these around in memory, and takes a described tensor for one in memory, which ends the process.

    Raises:
        ValueError: If the archive's alignment is no positive number: PyTorch divides by it, and the process would end.
    """
    found = {}
    remote = isinstance(path, RemotePath)
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        ends = member_ends(archive) if remote else {}
        for info in archive.infolist():
            if info.filename.endswith("/.storage_alignment"):
                if info.file_size > _DIGITS or int(archive.read(info)) < 1:
                    raise ValueError("its alignment is no positive number")
            elif info.filename.endswith("/byteorder"):
                if info.file_size > _DIGITS or archive.read(info) != b"little":
                    return None
            elif info.compress_type == zipfile.ZIP_STORED and "/data/" in info.filename:
                # A local header is a request each of a remote file; the places are compared with PyTorch's reckoning.
                place = ends[info.filename] - info.file_size if remote else data_offset(file, info)
                found[place] = info.file_size
    return found


def _tensors(described: Mapping[Any, Any]) -> list[Tensor]:
    inner = [value for value in described.values() if isinstance(value, Mapping)]
    return [value for level in (described, *inner) for value in level.values() if isinstance(value, Tensor)]


def _offset(tensor: Tensor) -> int | None:
    if tensor.layout != torch.strided or tensor.is_quantized:
        return None
    return getattr(tensor.untyped_storage(), "_checkpoint_offset", None)


def _unwrap(loaded: object, path: AnyPath) -> Mapping[Any, Any]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path}: holds a {type(loaded).__name__}; expected a state dict (names mapped to tensors)")
    if not any(isinstance(value, Tensor) for value in loaded.values()):
        for key in _WRAPPERS:
            if isinstance(loaded.get(key), Mapping):
                return loaded[key]
    return loaded


def _in_file(name: str, tensor: Tensor, path: AnyPath, size: int) -> TensorView:
    """A view of the place in the file that a meta tensor stands for."""
    place = _offset(tensor)
    extent = 1 + sum((count - 1) * step for count, step in zip(tensor.shape, tensor.stride(), strict=True))
    extent = extent if tensor.numel() else 0
    first = int(tensor.storage_offset())
    begin = (place or 0) + first * tensor.dtype.itemsize
    inside = first + extent <= tensor.untyped_storage().nbytes() // tensor.dtype.itemsize
    if place is None or not inside or begin + extent * tensor.dtype.itemsize > size:
        raise WeightsError(f"{path}: {name} lies beyond the end of the file; is it truncated?")
    shape = checked_shape(tensor.shape, name, str(path))
    if tensor.numel() > max(extent, _REPEATED):
        raise WeightsError(f"{path}: {name} repeats {extent} numbers to the shape {list(shape)}; save it contiguous")
    if tensor.is_contiguous():
        return FileSpan(path=path, offset=begin, type=type_name(tensor.dtype), shape=shape).view(name)
    span = FileSpan(path=path, offset=begin, type=type_name(tensor.dtype), shape=(extent,))
    return view_by_rows(name, shape, tensor.dtype, _StridedRows(span, shape, tensor.stride()).rows)


class _StridedRows(msgspec.Struct, frozen=True):
    """Rows of a tensor that does not lie row by row in the file (a transposed one, say)."""

    span: FileSpan
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def rows(self, first: int, last: int) -> Tensor:
        whole = self.span.load().as_strided(self.shape, self.strides)
        return (whole if whole.dim() == 2 else whole.reshape(-1, self.shape[-1]))[first:last]


def _refusal(path: AnyPath, error: BaseException) -> WeightsError:
    return WeightsError(
        f"{path}: reading it would run code stored in it, which shrinkscope never does ({first_line(error)}); "
        "save the weights alone: torch.save(model.state_dict(), path)"
    )


def _damage(path: AnyPath, error: BaseException) -> WeightsError:
    return WeightsError(f"{path}: not a readable PyTorch file ({first_line(error)}); is it truncated?")
