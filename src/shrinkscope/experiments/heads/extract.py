"""Features of images, computed once and kept in a file that is mapped into memory."""

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor, nn

from shrinkscope.errors import OutputError
from shrinkscope.experiments.data import Part
from shrinkscope.experiments.heads.key import Source, View, features_key
from shrinkscope.experiments.heads.locate import FeaturesError, features_of, find_head, head_layer
from shrinkscope.experiments.settings import USUAL, Extraction
from shrinkscope.experiments.stage import OnStage, StageClock
from shrinkscope.files import write_text
from shrinkscope.performance.forward import evaluation_mode, placement

Precision = Literal["float32", "float16", "float64"]
_TYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "float64": torch.float64,
}
# Images a forward pass: the activations of more do not stay in a CPU's caches, as docs/run.md has measured.
_PIXELS, _FEWEST, _MOST, _ON_GPU = 2**18, 8, 32, 256
_PROBE = 2  # images with which the last layer is looked for


def extract(
    model: nn.Module,
    source: Source,
    folder: str | os.PathLike[str],
    *,
    view: View | None = None,
    precision: Precision = "float32",
    how: Extraction = USUAL,
    progress: OnStage | None = None,
) -> Tensor:
    """The inputs of a network's last layer on images: from the file that has them, or computed now and kept.

    After each block of images a mark says how many are done, so that a killed extraction goes on where it stopped; a
    file under its own name is complete. Memory is that of a block.

    Args:
        model: The network; computed in evaluation mode, where it is.
        source: Images, or inputs and targets in memory.
        folder: Where files of features are kept, each named by the digest of all that it depends on.
        view: Seed and number of an augmented view; None: images as they are evaluated.
        precision: Type that features are kept in; float16 halves the file and rounds to 11 bits.
        how: Images a forward pass, and their layout in memory.
        progress: Called after each block.

    Returns:
        Shape (images, features), in the order of the source, mapped from the file; not to be written to.

    Raises:
        FeaturesError: If the network does not end in a linear layer, or features are not finite in this precision.
        OutputError: If the file cannot be written; what was written of it is removed.
        DataError: If an image is damaged, or the inputs do not fit the network.
    """
    if view is not None and not isinstance(source, Part):
        raise FeaturesError("a view of samples in memory was asked for; augmented views are made of images")
    head, path = find_head(model, _probe(model, source)), features_path(model, source, folder, view, precision)
    if not path.is_file():
        with _sole_writer(path):
            if not path.is_file():  # another process may have been first
                _Writer(path, model, head, precision, how).write(source, view, progress)
    return mapped(path)


def features_path(
    model: nn.Module,
    source: Source,
    folder: str | os.PathLike[str],
    view: View | None = None,
    precision: Precision = "float32",
) -> Path:
    """The file that has the features of some images, or will have them.

    Args:
        model: The network.
        source: As for ``extract``.
        folder: As for ``extract``.
        view: As for ``extract``.
        precision: As for ``extract``.

    Raises:
        FeaturesError: If the network does not end in a linear layer.
    """
    head = find_head(model, _probe(model, source))
    return Path(folder) / f"{features_key(model, head, source, view, _TYPES[precision])}.npy"


def mapped(path: Path) -> Tensor:
    """The features in a file, mapped into memory.

    Args:
        path: A complete file.

    Raises:
        FeaturesError: If it is missing or damaged.
    """
    try:
        # Copy on write: torch has no read-only tensors and would warn of a read-only array.
        found = np.lib.format.open_memmap(path, mode="c")
    except (OSError, ValueError) as error:
        raise FeaturesError(f"{path} holds no features ({error}); delete it and run the same command again") from error
    return torch.from_numpy(found)


class _Writer:
    """Writes one file of features, block by block, from where a mark says that an earlier run stopped."""

    def __init__(self, path: Path, model: nn.Module, head: str, precision: Precision, how: Extraction) -> None:
        self._path = path
        self._partial = path.with_suffix(".partial")
        self._mark = path.with_suffix(".mark")
        # Its own: weights in another layout are others to whoever flattens them.
        self._model, self._head, self._how = copy.deepcopy(model) if how.channels_last else model, head, how
        if how.channels_last:
            self._model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._precision: Precision = precision
        self._type: np.dtype[Any] = np.dtype(precision)

    def write(self, source: Source, view: View | None, progress: OnStage | None) -> None:
        total = len(source) if isinstance(source, Part) else len(source[0])
        width = head_layer(self._model, self._head).in_features
        done = self._done()
        clock = StageClock("features of images", done, total, progress)
        try:
            with self._opened(total, width, done) as file, evaluation_mode(self._model):
                for inputs in _batches(source, view, self._batch_size(source), done):
                    file.write(self._block(inputs, done))
                    done += len(inputs)
                    file.flush()
                    os.fsync(file.fileno())
                    write_text(self._mark, json.dumps({"done": done}))
                    clock.tell(done)
            self._partial.replace(self._path)
            self._mark.unlink(missing_ok=True)
        except (OSError, OutputError) as error:
            self._forget()
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            raise OutputError(
                f"cannot keep features in {self._path.parent}: {reason}; they take "
                f"{total * width * self._type.itemsize:,} bytes"
            ) from error

    def _batch_size(self, source: Source) -> int:
        if self._how.batch_size is not None:
            return self._how.batch_size
        device, _ = placement(self._model)
        if device.type != "cpu":
            return _ON_GPU
        return max(_FEWEST, min(_MOST, _PIXELS // _probe(self._model, source)[0, 0].numel()))

    def _block(self, inputs: Tensor, done: int) -> bytes:
        device, dtype = placement(self._model)
        inputs = inputs.to(device, dtype)
        if self._how.channels_last and inputs.ndim == 4:
            inputs = inputs.to(memory_format=torch.channels_last)
        found = features_of(self._model, self._head, inputs).to("cpu", _TYPES[self._precision])
        wrong = (~found.isfinite()).any(dim=1).nonzero()
        if len(wrong):
            raise FeaturesError(
                f"features of image {done + int(wrong[0])} are not finite in {self._precision}; "
                "is the network damaged? float32 holds what float16 cannot"
            )
        return found.contiguous().view(torch.uint8).numpy().tobytes()

    def _done(self) -> int:
        try:
            return int(json.loads(self._mark.read_text(encoding="utf-8"))["done"]) if self._partial.is_file() else 0
        except FileNotFoundError:
            return 0

    @contextmanager
    def _opened(self, total: int, width: int, done: int) -> Iterator[BinaryIO]:
        """The partial file with its header and its full length, at the place of the first missing row."""
        row = width * self._type.itemsize
        with self._partial.open("r+b" if done else "wb") as file:
            header = {"descr": self._type.str, "fortran_order": False, "shape": (total, width)}
            np.lib.format.write_array_header_1_0(file, header)
            start = file.tell()
            if hasattr(os, "posix_fallocate"):
                # Now, so that a disk without room is known before hours of computing.
                os.posix_fallocate(file.fileno(), 0, max(start + total * row, 1))
            file.seek(start + done * row)
            yield file

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)


def _batches(source: Source, view: View | None, batch_size: int, start: int) -> Iterator[Tensor]:
    if not isinstance(source, Part):
        yield from source[0][start:].split(batch_size)
        return
    order = torch.arange(start, len(source))
    found = source.rows(order, batch_size) if view is None else source.epoch(order, batch_size, *view)
    for inputs, _ in found:
        yield inputs


def _probe(model: nn.Module, source: Source) -> Tensor:
    device, dtype = placement(model)
    if isinstance(source, Part):
        inputs, _ = next(iter(source.rows(torch.arange(min(_PROBE, len(source))), _PROBE)))
    else:
        inputs = source[0][:_PROBE]
    return inputs.to(device, dtype)


@contextmanager
def _sole_writer(path: Path) -> Iterator[None]:
    """Wait until no other process writes the same file; the lock goes with the process that holds it."""
    lock = path.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise OutputError(f"cannot keep features in {path.parent}: {error.strerror or error}") from error
    with file:
        try:
            import fcntl
        except ImportError:  # not on Windows, where a second process would compute the same bytes again
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
