"""NumPy's .npz archives: stored members are mapped where they lie, compressed ones are unpacked as they are read."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from typing import IO

import numpy as np

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import SIZES
from shrinkscope.weights.formats.archive import data_offset
from shrinkscope.weights.formats.checks import checked_name, checked_shape, first_line, shown
from shrinkscope.weights.formats.deflated import DeflatedMember
from shrinkscope.weights.formats.span import FileSpan
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_elements
from shrinkscope.weights.remote.path import AnyPath
from shrinkscope.weights.view import TensorView

_DAMAGED = (
    OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, SyntaxError, RecursionError, MemoryError,
    NotImplementedError, RuntimeError, OverflowError, struct.error, zlib.error, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
"""What zipfile and NumPy raise on damaged archives and headers (found by fuzzing)."""


def read_npz(path: AnyPath) -> Stored:
    """The arrays of an .npz file; only the archive's directory and the arrays' headers are read.

    Args:
        path: The file.

    Returns:
        Views of them.

    Raises:
        WeightsError: If it is damaged, holds pickled objects, or an array's size contradicts the archive.
    """
    views: dict[str, TensorView] = {}
    unreadable: dict[str, str] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = checked_name(info.filename.removesuffix(".npy"), str(path))
                if name in views or name in unreadable:
                    raise ValueError(f"{shown(name)} occurs twice")
                if not info.filename.endswith(".npy"):
                    raise ValueError(f"{shown(info.filename)} is no array")
                found = _member(path, file, archive, info, name)
                if isinstance(found, str):
                    unreadable[name] = found
                else:
                    views[name] = found
    except _DAMAGED as error:
        raise WeightsError(f"{path}: not a readable .npz file ({first_line(error)}); is it truncated?") from error
    return Stored(views=views, unreadable=unreadable)


def _member(
    path: AnyPath, file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str
) -> TensorView | str:
    """The view of one array, or the reason why its numbers are not read."""
    with archive.open(info) as member:
        major, _ = np.lib.format.read_magic(member)
        if major not in (1, 2):
            return f"its header has version {major}, which only structured arrays need"
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        sizes, by_columns, stored = read(member)
        begin = member.tell()
    if stored.hasobject:
        raise WeightsError(
            f"{path}: holds pickled objects, which could run code; save plain arrays: np.savez(path, **arrays)"
        )
    kind = _type(stored)
    if kind is None:
        return f"its type {shown(stored)} has no counterpart among tensors"
    shape = checked_shape(sizes, name, str(path))
    if begin + math.prod(shape) * stored.itemsize != info.file_size:
        raise ValueError(f"{name} has {info.file_size - begin} bytes for the shape {list(shape)} of {stored}")
    layout = shape[::-1] if by_columns else shape
    big = stored.byteorder == ">"
    if info.compress_type != zipfile.ZIP_STORED:
        pieces = DeflatedMember(path, info.filename, begin, kind, big_endian=big)
        view = view_by_elements(name, layout, kind, pieces.elements)
    else:
        begin += data_offset(file, info)
        view = FileSpan(path=path, offset=begin, type=kind, shape=layout, big_endian=big).view(name)
    return _transposed(view, name) if by_columns and len(shape) > 1 else view


def _transposed(view: TensorView, name: str) -> TensorView:
    # Rows of an array that is stored by columns lie all over it: it is read whole.
    load = lambda: view.load().permute(*range(len(view.shape) - 1, -1, -1))  # noqa: E731
    return TensorView(name=name, shape=view.shape[::-1], type=view.type, role=view.role, load=load)


def _type(stored: np.dtype) -> str | None:
    name = stored.newbyteorder("=").name
    return name if stored.kind in "fiub" and stored.subdtype is None and name in SIZES else None
