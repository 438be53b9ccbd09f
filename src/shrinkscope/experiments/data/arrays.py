"""Images in .npz files: pixels, or JPEG files end to end with their offsets."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shrinkscope.errors import DataError
from shrinkscope.experiments.data.sources import EncodedSource, PixelSource, stream_source

Found = PixelSource | EncodedSource
Archive = Mapping[str, np.ndarray]


def read_arrays(train: Path, test: Path | None) -> tuple[Found, Found, tuple[str, ...]]:
    """Training and held-out images.

    A file of one part has ``jpeg``, ``offset`` and ``y``, or ``x`` and ``y``; a file of both has these names with
    ``train_`` and ``test_`` before them, or ``x_train``, ``y_train`` and so on. ``y_train_all`` with ``train_index``
    stand for the labels of some of a larger set. ``wnids`` are the names of the classes.

    Args:
        train: File of the training images.
        test: File of the held-out images; None: they are in the same file.

    Returns:
        Training images, held-out images, and the names of the classes: their numbers where the file has none.

    Raises:
        DataError: If a file is missing, damaged, or has other arrays.
    """
    first = _read(train)
    second = first if test is None else _read(test)
    parts = _part(first, "train", train), _part(second, "test", test or train)
    labelled = 1 + max(int(part.targets.max()) for part in parts)
    names = tuple(map(str, first["wnids"])) if "wnids" in first else tuple(map(str, range(labelled)))
    if labelled > len(names):
        raise DataError(f"{train}: labels up to {labelled - 1}, but {len(names)} names of classes")
    if "wnids" in first and "wnids" in second and not np.array_equal(first["wnids"], second["wnids"]):
        raise DataError(f"{train} and {test} have other classes, or the same in another order; expected one list")
    return *parts, names


def _part(arrays: Archive, part: str, path: Path) -> Found:
    for before, behind in (("", ""), (f"{part}_", ""), ("", f"_{part}")):
        names = {key: f"{before}{key}{behind}" for key in ("jpeg", "offset", "x", "y")}
        labels = arrays.get(names["y"], _of_larger_set(arrays, part))
        if labels is not None and names["jpeg"] in arrays and names["offset"] in arrays:
            return stream_source(arrays[names["jpeg"]], arrays[names["offset"]], labels, str(path))
        if labels is not None and names["x"] in arrays:
            pixels = arrays[names["x"]]
            return PixelSource(pixels, labels[: len(pixels)] if names["y"] not in arrays else labels, str(path))
    raise DataError(
        f"{path} holds {', '.join(arrays) or 'nothing'}; expected images of {part}: jpeg, offset and y, or x and y, "
        f"alone or with {part}_ before or _{part} behind them"
    )


def _of_larger_set(arrays: Archive, part: str) -> np.ndarray | None:
    everything = arrays.get(f"y_{part}_all")
    index = arrays.get(f"{part}_index")
    return everything if everything is None or index is None else everything[index]


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz file ({error}); is it truncated?") from error
