"""CIFAR10 and CIFAR100 in their official layouts, read without running any code that a file holds."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shrinkscope.errors import DataError
from shrinkscope.experiments.data.sources import PixelSource

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_FILES = {
    10: ([f"data_batch_{number}" for number in range(1, 6)], ["test_batch"]),
    100: (["train"], ["test"]),
}
_FOLDERS = {10: ("cifar-10-batches-py", "cifar-10-batches-bin"), 100: ("cifar-100-python", "cifar-100-binary")}

Sources = tuple[PixelSource, PixelSource]


def cifar_folder(root: Path, classes: int) -> Path | None:
    """The folder of CIFAR's batches: the one given, or the one of the archive's name within it.

    Args:
        root: A folder.
        classes: 10 or 100.

    Returns:
        The folder, or None if there is none.
    """
    first = _FILES[classes][0][0]
    for folder in (root, *(root / name for name in _FOLDERS[classes])):
        # "train" may be a folder of another layout.
        if (folder / first).is_file() or (folder / f"{first}.bin").is_file():
            return folder
    return None


def read_cifar(folder: Path, classes: int) -> Sources:
    """Training and test images from the Python batches or the binary ones.

    Args:
        folder: As ``cifar_folder`` finds it.
        classes: 10 or 100.

    Returns:
        Training and test images, in the official order.

    Raises:
        DataError: If a file is missing, truncated, holds other classes, or would need to run code to be read.
    """
    train, test = _FILES[classes]
    return _read(folder, train, classes), _read(folder, test, classes)


def class_names(folder: Path, classes: int) -> tuple[str, ...]:
    """Names of the classes where a text file has them, otherwise their numbers.

    Args:
        folder: As ``cifar_folder`` finds it.
        classes: 10 or 100.
    """
    for name in ("batches.meta.txt", "fine_label_names.txt"):
        if (folder / name).is_file():
            found = tuple((folder / name).read_text(encoding="utf-8").split())
            if len(found) == classes:
                return found
    return tuple(map(str, range(classes)))


def _read(folder: Path, names: Sequence[str], classes: int) -> PixelSource:
    read = [_batch(folder, name, classes) for name in names]
    pixels = np.concatenate([batch[0] for batch in read]).reshape(-1, 3, _SIDE, _SIDE)
    labels = np.concatenate([batch[1] for batch in read])
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{folder}: holds the class {labels.max()}; expected classes 0 to {classes - 1}")
    return PixelSource(pixels, labels, str(folder))


def _batch(folder: Path, name: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    plain, binary = folder / name, folder / f"{name}.bin"
    if plain.is_file():
        return _python_batch(plain, classes)
    if binary.is_file():
        return _binary_batch(binary, classes)
    train, test = _FILES[classes]
    raise DataError(f"{folder}: {name} is missing; expected CIFAR{classes}'s {', '.join([*train, *test])}")


def _binary_batch(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    content = np.fromfile(path, np.uint8)
    labels = 1 if classes == 10 else 2  # CIFAR100 has a coarse label before the fine one
    if not len(content) or len(content) % (labels + _PIXELS):
        raise DataError(
            f"{path}: {len(content):,} bytes are no whole number of records of {labels + _PIXELS}; is it truncated?"
        )
    records = content.reshape(-1, labels + _PIXELS)
    return records[:, labels:], records[:, labels - 1].astype(np.int64)


def _python_batch(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file:
            batch = _Arrays(file, encoding="bytes").load()
    except _ForbiddenError as error:
        raise DataError(f"{path}: reading it would run {error}, which shrinkscope never does") from error
    except Exception as error:  # a damaged pickle fails in many ways
        raise DataError(f"{path}: not a readable batch of CIFAR ({error}); is it truncated?") from error
    key = b"labels" if classes == 10 else b"fine_labels"
    found = batch if isinstance(batch, dict) else {}
    pixels, labels = found.get(b"data"), found.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        raise DataError(f"{path}: holds no pixels; expected b'data', uint8 of shape (images, {_PIXELS})")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        known = ", ".join(repr(name) for name in found)
        raise DataError(f"{path}: holds {known}; expected {key!r} with {len(pixels)} labels, as CIFAR{classes} has")
    return pixels, np.asarray(labels, dtype=np.int64)


class _ForbiddenError(Exception):
    """A pickle asks for something else than an array."""


class _Arrays(pickle.Unpickler):
    """Rebuilds containers, numbers, bytes and arrays; any other global is refused, so that nothing can be run."""

    _KNOWN = frozenset(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy", "numpy.core.numeric")
        for name in ("_reconstruct", "ndarray", "dtype")
    )

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if (module, name) == ("_codecs", "encode"):
            return _encoded  # how Python 3 writes bytes for old readers
        if (module, name) not in self._KNOWN:
            raise _ForbiddenError(f"{module}.{name}")
        if name == "_reconstruct":
            return _empty
        return getattr(np, name)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    return text.encode(encoding)


def _empty(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """An array that its state fills in; ``kind`` can be nothing but numpy's array."""
    if kind is not np.ndarray:
        raise _ForbiddenError(f"an array of type {kind}")
    return np.ndarray(shape, dtype=code.decode() if isinstance(code, bytes) else code)
