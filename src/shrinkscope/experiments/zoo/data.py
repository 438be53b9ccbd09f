"""Evaluation data: arrays in .npz, MNIST in its own format, the installed digits, or what a function returns."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.experiments.zoo.pointed import pointed_at
from shrinkscope.performance.data import batches, input_batches

Samples = tuple[Tensor, Tensor]

_MNIST_MEAN, _MNIST_DEVIATION = 0.1307, 0.3081
_TOGETHER = 1024  # samples of a pair of tensors that are taken at once
_INPUT_NAMES = ("x", "inputs", "images")
_TARGET_NAMES = ("y", "targets", "labels")


def load_data(source: str) -> Samples:
    """Inputs and targets for an evaluation.

    Args:
        source: A .npz file with arrays x and y (or inputs and targets, images and labels), used as they are; a
            directory with MNIST's test set in idx format, plain or .gz, standardised with mean 0.1307 and deviation
            0.3081; or ``digits`` for the held-out digits of ``shrinkscope demo``.

    Returns:
        Inputs (samples, …) and targets (samples,).

    Raises:
        DataError: If nothing usable is there; the message says what was found and what was expected.
    """
    if source == "digits":
        from shrinkscope.experiments.digits import load_digits_split

        split = load_digits_split()
        return split.x_test, split.y_test
    path = Path(source)
    if path.is_dir():
        return _mnist_test(path)
    if path.suffix == ".npz":
        return _arrays(path)
    if ":" in source:
        found = [*batches(pointed_at(source, "inputs and targets", DataError)(), _TOGETHER)]
        return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])
    raise DataError(
        f"{source}: not usable as data; expected a .npz file with x and y, a directory with MNIST, digits, or "
        "package.module:function"
    )


def load_inputs(source: str, most: int | None = None) -> Tensor:
    """Unlabelled inputs for the predictive bound.

    Args:
        source: As for ``load_data``, whose labels need not be there; or a .npy file with one array.
        most: The first so many, without reading more batches of a function than hold them; all by default.

    Returns:
        Inputs (samples, …).

    Raises:
        DataError: If nothing usable is there; the message says what was found and what was expected.
    """
    if Path(source).suffix != ".npz" and ":" in source:
        return _together(input_batches(pointed_at(source, "inputs", DataError)(), _TOGETHER), most)
    return _stored_inputs(source)[:most]


def _together(given: Iterator[Tensor], most: int | None) -> Tensor:
    taken: list[Tensor] = []
    for batch in given:
        taken.append(batch)
        if most is not None and sum(map(len, taken)) >= most:
            break
    return torch.cat(taken)[:most]


def _stored_inputs(source: str) -> Tensor:
    path = Path(source)
    if source == "digits":
        return load_data(source)[0]
    if path.is_dir():
        return _mnist_images(path)
    if path.suffix == ".npy":
        return _single_array(path)
    if path.suffix != ".npz":
        raise DataError(
            f"{source}: not usable as inputs; expected a .npz file with x, a .npy file, a directory with MNIST, "
            "digits, or package.module:function"
        )
    arrays = _read(path)
    inputs = next((arrays[name] for name in _INPUT_NAMES if name in arrays), None)
    if inputs is None:
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; expected an array called x")
    return torch.from_numpy(inputs)


def _single_array(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # as for archives
        raise DataError(f"{path}: not a readable .npy file ({error})") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # numpy and zipfile raise many kinds for one fault: the file cannot be read
        raise DataError(f"{path}: not a readable .npz file ({error})") from error


def _arrays(path: Path) -> Samples:
    arrays = _read(path)
    inputs = next((arrays[name] for name in _INPUT_NAMES if name in arrays), None)
    targets = next((arrays[name] for name in _TARGET_NAMES if name in arrays), None)
    if inputs is None or targets is None:
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; expected arrays called x and y")
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def _mnist_test(directory: Path) -> Samples:
    labels = _idx(directory, "t10k-labels-idx1-ubyte")
    return _mnist_images(directory), torch.from_numpy(labels.astype(np.int64))


def _mnist_images(directory: Path) -> Tensor:
    pixels = torch.from_numpy(_idx(directory, "t10k-images-idx3-ubyte").astype(np.float32)).div_(255.0)
    return pixels.sub_(_MNIST_MEAN).div_(_MNIST_DEVIATION).unsqueeze(1)


def _idx(directory: Path, name: str) -> np.ndarray:
    plain, packed = directory / name, directory / f"{name}.gz"
    if not plain.exists() and not packed.exists():
        found = ", ".join(sorted(entry.name for entry in directory.iterdir())[:5]) or "nothing"
        raise DataError(f"{directory} holds {found}; expected MNIST's test set: {name} or {name}.gz")
    try:
        content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        if zeros != 0 or kind != 8:
            raise ValueError("not unsigned bytes in idx format")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise DataError(f"{directory / name}: not a readable idx file ({error}); is it truncated?") from error
