"""A tensor that lies in a file as plain numbers: windows of it are mapped, or fetched, when they are read."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import SIZES, Numbers
from shrinkscope.weights.formats.checks import first_line
from shrinkscope.weights.remote.path import AnyPath, RemotePath
from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import TensorView

if TYPE_CHECKING:
    from torch import Tensor


def of_bytes(raw: np.ndarray, kind: str, big_endian: bool) -> Numbers:
    """The numbers that some bytes are.

    Args:
        raw: The bytes, flat.
        kind: What they are: a name in ``SIZES``.
        big_endian: Whether the bytes of each number come in the other order.
    """
    size = SIZES[kind]
    if big_endian and size > 1:
        raw = np.ascontiguousarray(raw.reshape(-1, size)[:, ::-1]).reshape(-1)
    if kind == "bool":
        raw = (raw != 0).view(np.uint8)
    # Numbers at an odd place would make every kernel that reads them slow or wrong.
    return Numbers(raw if raw.ctypes.data % size == 0 else raw.copy(), kind)


class FileSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Where the numbers of a tensor lie.

    Every window is a mapping of its own. A mapping of the whole file would count as memory of the process, as address
    space, and page by page in its resident set.

    Attributes:
        path: The file.
        offset: Where in it they begin, in bytes.
        type: What they are: a name in ``SIZES``.
        shape: Shape of the tensor, row-major.
        big_endian: Whether the bytes of each number come in the other order.
    """

    path: AnyPath
    offset: int
    type: str
    shape: tuple[int, ...]
    big_endian: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file."""
        return math.prod(self.shape) * SIZES[self.type]

    def numbers(self, start: int, stop: int) -> Numbers:
        """The elements [start, stop) of the flattened tensor.

        Raises:
            WeightsError: If the file has become shorter or has gone.
        """
        size = SIZES[self.type]
        return of_bytes(
            self._bytes(self.offset + start * size, max(stop - start, 0) * size), self.type, self.big_endian
        )

    def window(self, start: int, stop: int) -> Tensor:
        """The same as a tensor."""
        return self.numbers(start, stop).tensor()

    def load(self) -> Tensor:
        """The whole tensor, not to be changed: pages of a file come into memory when they are read."""
        if isinstance(self.path, RemotePath) and self.nbytes:
            raw = np.frombuffer(self.path.read_whole(self.offset, self.nbytes), dtype=np.uint8)
            return of_bytes(raw, self.type, self.big_endian).tensor().reshape(self.shape)
        return self.window(0, math.prod(self.shape)).reshape(self.shape)

    def view(self, name: str) -> TensorView:
        """This tensor under a name."""
        return TensorView(
            name=name,
            shape=self.shape,
            type=self.type,
            role=role_from_name(name, len(self.shape)),
            load=self.load,
            window=self.window,
            numbers=self.numbers,
        )

    def _bytes(self, begin: int, length: int) -> np.ndarray:
        if length == 0:
            return np.empty(0, dtype=np.uint8)
        if isinstance(self.path, RemotePath):
            return np.frombuffer(self.path.read_range(begin, length), dtype=np.uint8)
        skipped = begin % mmap.ALLOCATIONGRANULARITY
        try:
            with self.path.open("rb") as file:
                # Copy on write: torch knows no memory that may not be written to. Nothing is copied by reading.
                mapping = mmap.mmap(file.fileno(), skipped + length, access=mmap.ACCESS_COPY, offset=begin - skipped)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"{self.path}: cannot be read any more ({first_line(error)}); was it changed since it was opened?"
            ) from error
        return np.frombuffer(mapping, dtype=np.uint8, count=length, offset=skipped)
