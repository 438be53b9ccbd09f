"""A tensor that lies in a file as plain numbers: windows of it are mapped, or fetched, when they are read."""

import math
import mmap

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.checks import first_line
from shrinkscope.weights.remote.path import AnyPath, RemotePath
from shrinkscope.weights.role import role_from_name
from shrinkscope.weights.view import TensorView


class FileSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Where the numbers of a tensor lie.

    Every window is a mapping of its own. A mapping of the whole file would count as memory of the process, as address
    space, and page by page in its resident set.

    Attributes:
        path: The file.
        offset: Where in it they begin, in bytes.
        dtype: What they are.
        shape: Shape of the tensor, row-major.
        big_endian: Whether the bytes of each number come in the other order.
    """

    path: AnyPath
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    big_endian: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize

    def window(self, start: int, stop: int) -> Tensor:
        """The elements [start, stop) of the flattened tensor.

        Raises:
            WeightsError: If the file has become shorter or has gone.
        """
        size = self.dtype.itemsize
        return self._numbers(self._bytes(self.offset + start * size, max(stop - start, 0) * size))

    def load(self) -> Tensor:
        """The whole tensor, not to be changed: pages of a file come into memory when they are read."""
        if isinstance(self.path, RemotePath) and self.nbytes:
            raw = torch.frombuffer(self.path.read_whole(self.offset, self.nbytes), dtype=torch.uint8)
            return self._numbers(raw).reshape(self.shape)
        return self.window(0, math.prod(self.shape)).reshape(self.shape)

    def view(self, name: str) -> TensorView:
        """This tensor under a name."""
        role = role_from_name(name, len(self.shape))
        return TensorView(name=name, shape=self.shape, dtype=self.dtype, role=role, load=self.load, window=self.window)

    def _numbers(self, raw: Tensor) -> Tensor:
        size = self.dtype.itemsize
        if self.big_endian and size > 1:
            raw = raw.reshape(-1, size).flip(1).reshape(-1)
        if self.dtype == torch.bool:
            return raw != 0
        # A tensor at an odd place would make every kernel that reads it slow or wrong.
        return (raw if raw.storage_offset() % size == 0 else raw.clone()).view(self.dtype)

    def _bytes(self, begin: int, length: int) -> Tensor:
        if length == 0:
            return torch.empty(0, dtype=torch.uint8)
        if isinstance(self.path, RemotePath):
            return torch.frombuffer(self.path.read_range(begin, length), dtype=torch.uint8)
        skipped = begin % mmap.ALLOCATIONGRANULARITY
        try:
            with self.path.open("rb") as file:
                # Copy on write: torch knows no memory that may not be written to. Nothing is copied by reading.
                mapping = mmap.mmap(file.fileno(), skipped + length, access=mmap.ACCESS_COPY, offset=begin - skipped)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"{self.path}: cannot be read any more ({first_line(error)}); was it changed since it was opened?"
            ) from error
        return torch.frombuffer(mapping, dtype=torch.uint8, count=length, offset=skipped)
