"""The weights of a network after each epoch of training, kept until the last is known."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from shrinkscope.errors import OutputError
from shrinkscope.weights import open_weights

IN_MEMORY = 1 << 26
"""Bytes that the snapshots of one training may take in memory; more go to a file."""


class Snapshots(Sequence[dict[str, Tensor]]):
    """Some tensors of a network at successive times: in memory while they are small, then in a file without a name.

    The file is the process's own and vanishes with it, however it ends. Use as a context manager.

    Args:
        names: Plain names of the tensors, at least one.
        folder: Where the file goes; it must exist.
        in_memory: Bytes that are held in memory.
    """

    def __init__(self, names: Sequence[str], folder: Path, *, in_memory: int = IN_MEMORY) -> None:
        self.names = tuple(names)
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory, dir=str(folder))  # noqa: SIM115  # closed on exit
        self._like: dict[str, tuple[torch.dtype, torch.Size]] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self, model: nn.Module) -> None:
        """Keep the effective tensors of a network as they are now.

        Args:
            model: The network, plain or with its mask held; always the same one.

        Raises:
            OutputError: If the file cannot be written.
        """
        weights = open_weights(model)
        self._append({name: weights[name].read().cpu().contiguous() for name in self.names})

    def tensors(self) -> dict[str, Tensor]:
        """All of them under ``number.name``, for a checkpoint."""
        return {f"{time}.{name}": tensor for time in range(len(self)) for name, tensor in self[time].items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Hold what ``tensors`` gave, in place of what is held.

        Args:
            tensors: All snapshots.

        Raises:
            OutputError: If the file cannot be written.
        """
        self._count = 0
        for time in range(len(tensors) // len(self.names)):
            self._append({name: tensors[f"{time}.{name}"] for name in self.names})

    def _append(self, tensors: dict[str, Tensor]) -> None:
        self._like = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        try:
            self._file.seek(self._count * self._size)
            for tensor in tensors.values():
                self._file.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        except OSError as error:
            raise OutputError(
                f"cannot keep the weights of each epoch in {self._folder}: {error.strerror or error}; is the disk full?"
            ) from error
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The tensors of one time by name; negative indices count from the last.

        Raises:
            IndexError: If there is no such snapshot.
        """
        place = range(self._count)[index]
        self._file.seek(place * self._size)
        return dict(self._read())

    @property
    def _size(self) -> int:
        return sum(dtype.itemsize * shape.numel() for dtype, shape in self._like.values())

    def _read(self) -> Iterator[tuple[str, Tensor]]:
        for name, (dtype, shape) in self._like.items():
            data = bytearray(self._file.read(dtype.itemsize * shape.numel()))
            yield name, torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)
