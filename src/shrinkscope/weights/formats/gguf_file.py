"""GGUF, the format of llama.cpp: a header that describes tensors, plain or in quantised blocks."""

import io
import math
import struct
from typing import IO

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import type_name
from shrinkscope.weights.formats.checks import checked_name, checked_shape, first_line, shown
from shrinkscope.weights.formats.gguf_blocks import PLAIN, TYPES, BlockType, dequantiser
from shrinkscope.weights.formats.span import FileSpan
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.formats.windows import view_by_elements
from shrinkscope.weights.remote.path import AnyPath
from shrinkscope.weights.view import TensorView

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the values of metadata that have a fixed size, by the number of their type."""

_STRING, _ARRAY = 8, 9
_NESTED = 4
_ALIGNMENT = b"general.alignment"


def read_gguf(path: AnyPath) -> Stored:
    """The tensors of a .gguf file; only its header is read.

    Args:
        path: A file of version 2 or 3, little endian.

    Returns:
        Views of them under llama.cpp's names, quantised ones as float32.

    Raises:
        WeightsError: If the header is damaged, or tensors overlap or lie beyond the end.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            entries, begin = _Header(file, size).tensors(path)
        return _stored(path, entries, begin, size)
    except (OSError, ValueError, struct.error) as error:
        raise WeightsError(f"{path}: not a readable GGUF file ({first_line(error)}); is it truncated?") from error


class _Entry(msgspec.Struct, frozen=True):
    """A tensor as the header describes it; the offset counts from where the numbers begin."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class _Header:
    """A position in the file's header."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size, self._place = file, size, 0

    def tensors(self, path: AnyPath) -> tuple[list[_Entry], int]:
        """The description of every tensor, and where the numbers begin."""
        if self._take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version = self._number("<I")
        if version not in (2, 3):
            other = "its bytes are in big-endian order" if version & 0xFFFF == 0 else f"its version is {version}"
            raise ValueError(f"{other}; expected version 2 or 3, little endian")
        count, pairs = self._count(24), self._count(12)
        alignment = 32
        for _ in range(pairs):
            key, kind = self._take(self._count(1)), self._number("<I")
            if key == _ALIGNMENT and kind == 4:
                alignment = self._number("<I")
            else:
                self._skip(kind, 0)
        if alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {alignment}; expected a power of two")
        entries = [self._entry(path) for _ in range(count)]
        return entries, -(-self._place // alignment) * alignment

    def _entry(self, path: AnyPath) -> _Entry:
        try:
            name = checked_name(self._take(self._count(1)).decode("utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise ValueError("the name of a tensor is no text") from error
        sizes = [self._number("<Q") for _ in range(self._number("<I", largest=8))]
        shape = checked_shape(reversed(sizes), name, str(path))
        return _Entry(name, shape, self._number("<I"), self._number("<Q"))

    def _skip(self, kind: int, depth: int) -> None:
        if kind in _SIZES:
            self._pass(_SIZES[kind])
        elif kind == _STRING:
            self._pass(self._count(1))
        elif kind == _ARRAY and depth < _NESTED:
            inner = self._number("<I")
            if inner in _SIZES:
                self._pass(self._count(_SIZES[inner]) * _SIZES[inner])
                return
            for _ in range(self._count(8)):
                self._skip(inner, depth + 1)
        else:
            raise ValueError(f"its metadata has a value of the unknown type {kind}")

    def _count(self, smallest: int) -> int:
        """A number of things of which each takes at least so many bytes, so that more than fit are not believed."""
        count = self._number("<Q")
        if count * smallest > self._size - self._place:
            raise ValueError(f"it would hold {count} entries at byte {self._place}, more than fit")
        return count

    def _number(self, kind: str, largest: int | None = None) -> int:
        number = struct.unpack(kind, self._take(struct.calcsize(kind)))[0]
        if largest is not None and number > largest:
            raise ValueError(f"a tensor has {number} dimensions")
        return number

    def _take(self, length: int) -> bytes:
        if length > self._size - self._place:
            raise ValueError(f"it ends within the header, at byte {self._size}")
        self._place += length
        data = self._file.read(length)
        if len(data) != length:
            raise ValueError(f"it ends within the header, at byte {self._place - length + len(data)}")
        return data

    def _pass(self, length: int) -> None:
        if length > self._size - self._place:
            raise ValueError(f"it ends within the header, at byte {self._size}")
        self._place += length
        self._file.seek(length, io.SEEK_CUR)


def _stored(path: AnyPath, entries: list[_Entry], begin: int, size: int) -> Stored:
    views: dict[str, TensorView] = {}
    unreadable: dict[str, str] = {}
    end, before = 0, "the header"
    for entry in sorted(entries, key=lambda one: one.offset):
        nbytes = _nbytes(entry)
        if entry.offset < end:
            raise ValueError(f"{entry.name} and {before} overlap")
        end, before = entry.offset + nbytes, entry.name
    if begin + end > size and entries:
        raise ValueError(f"{before} ends at byte {begin + end} of {size}")
    for entry in entries:
        if entry.name in views or entry.name in unreadable:
            raise ValueError(f"{shown(entry.name)} occurs twice")
        found = _view(path, entry, begin + entry.offset)
        if isinstance(found, str):
            unreadable[entry.name] = found
        else:
            views[entry.name] = found
    return Stored(views=views, unreadable=unreadable)


def _nbytes(entry: _Entry) -> int:
    if entry.kind in PLAIN:
        return math.prod(entry.shape) * PLAIN[entry.kind].itemsize
    if entry.kind not in TYPES:
        raise ValueError(f"{entry.name} has the unknown type {entry.kind}")
    kind = TYPES[entry.kind]
    if not entry.shape or entry.shape[-1] % kind.elements:
        raise ValueError(f"{entry.name} of {kind.name} has the shape {list(entry.shape)}, not whole blocks in a row")
    return math.prod(entry.shape) // kind.elements * kind.nbytes


def _view(path: AnyPath, entry: _Entry, offset: int) -> TensorView | str:
    if entry.kind in PLAIN:
        span = FileSpan(path=path, offset=offset, type=type_name(PLAIN[entry.kind]), shape=entry.shape)
        return span.view(entry.name)
    kind = TYPES[entry.kind]
    if dequantiser(kind) is None:
        return f"its type {kind.name} is decoded by the package gguf: pip install 'shrinkscope[formats]'"
    span = FileSpan(path=path, offset=offset, type="uint8", shape=(_nbytes(entry),))
    return view_by_elements(entry.name, entry.shape, torch.float32, _Blocks(span, kind).elements)


class _Blocks(msgspec.Struct, frozen=True):
    """Quantised blocks in a file."""

    span: FileSpan
    kind: BlockType

    def elements(self, start: int, stop: int) -> Tensor:
        """The dequantised elements [start, stop)."""
        first, last = start // self.kind.elements, -(-stop // self.kind.elements)
        blocks = self.span.window(first * self.kind.nbytes, last * self.kind.nbytes).reshape(-1, self.kind.nbytes)
        decode = dequantiser(self.kind)
        if decode is None:
            raise WeightsError(
                f"{self.span.path}: the package gguf, which decodes {self.kind.name}, is gone; install it"
            )
        values = decode(blocks).reshape(-1)
        return values[start - first * self.kind.elements : stop - first * self.kind.elements]
