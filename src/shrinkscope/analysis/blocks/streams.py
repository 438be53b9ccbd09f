"""Hidden states of all sequences between two blocks, in a file, read and written a few sequences at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shrinkscope.files import atomic_path

_TYPES = {torch.float32: np.float32, torch.float64: np.float64}


class Stream:
    """Hidden states in a .npy file of shape (sequences, positions, width).

    Args:
        path: The file, which is there.
        batch: Sequences at a time.
        device: Where they are read to.
    """

    def __init__(self, path: Path, batch: int, device: torch.device | str = "cpu") -> None:
        self.path, self._batch, self._device = path, batch, device
        self._values = np.load(path, mmap_mode="r")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sequences, positions and width."""
        sequences, positions, width = self._values.shape
        return sequences, positions, width

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self), self._batch):
            yield self.part(start)

    def part(self, start: int) -> Tensor:
        """A batch, in memory.

        Args:
            start: Its first sequence.
        """
        return torch.from_numpy(np.array(self._values[start : start + self._batch])).to(self._device)

    def rows(self, chosen: list[int]) -> Tensor:
        """Some sequences, in memory.

        Args:
            chosen: Which.
        """
        return torch.from_numpy(self._values[chosen]).to(self._device)


class StreamWriter:
    """Receives hidden states batch by batch."""

    def __init__(self, values: np.memmap) -> None:
        self._values, self._at = values, 0

    def write(self, hidden: Tensor) -> None:
        """Append a batch.

        Args:
            hidden: Shape (sequences, positions, width).
        """
        self._values[self._at : self._at + len(hidden)] = hidden.detach().cpu().numpy()
        self._at += len(hidden)

    def put(self, rows: list[int], hidden: Tensor) -> None:
        """Set some sequences; others stay zero.

        Args:
            rows: Which.
            hidden: Shape (sequences, positions, width).
        """
        self._values[rows] = hidden.detach().cpu().numpy()


@contextmanager
def written(path: Path, shape: tuple[int, int, int], dtype: torch.dtype) -> Iterator[StreamWriter]:
    """A stream that is in its place when the block ends, whole, and not at all when it fails.

    Args:
        path: The file.
        shape: Sequences, positions and width.
        dtype: float32 or float64.

    Yields:
        What takes the batches, in order.
    """
    with atomic_path(path) as temporary:
        values = np.lib.format.open_memmap(temporary, mode="w+", dtype=_TYPES[dtype], shape=shape)
        yield StreamWriter(values)
        values.flush()
        del values
