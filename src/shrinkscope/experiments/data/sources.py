"""Where images come from: pixels in memory, or files and JPEG streams that are decoded when they are asked for."""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from shrinkscope.errors import DataError


class Source(Protocol):
    """Labelled images by index.

    Attributes:
        targets: Class indices, int64, shape (images,).
        digest: Digest of what the images are, hexadecimal.
    """

    targets: Tensor
    digest: str

    def image(self, index: int) -> Image.Image:
        """One image, RGB.

        Args:
            index: From 0.

        Raises:
            DataError: If it is damaged.
        """
        ...


class PixelSource:
    """Images as an array of bytes in memory.

    Args:
        pixels: uint8, shape (images, height, width), or with three channels, first or last.
        targets: Class indices.
        origin: Where they come from, for messages.

    Raises:
        DataError: If the array is no array of images, or there are not as many targets.
    """

    def __init__(self, pixels: np.ndarray, targets: np.ndarray, origin: str) -> None:
        self._pixels = _channels_last(pixels, origin)
        self.targets = _checked(targets, len(pixels), origin)
        self.digest = digest_of([np.ascontiguousarray(self._pixels).data, self.targets.numpy().data])

    def image(self, index: int) -> Image.Image:
        """One image, RGB."""
        return Image.fromarray(self._pixels[index]).convert("RGB")


class EncodedSource:
    """Images in files or in JPEG streams, decoded one at a time, so that memory stays small.

    Args:
        read: Gives the bytes of an image by its index.
        name: Gives what an image is called in messages.
        targets: Class indices.
        digest: Digest of what the images are.
    """

    def __init__(
        self, read: Callable[[int], bytes], name: Callable[[int], str], targets: np.ndarray, digest: str
    ) -> None:
        self._read = read
        self._name = name
        self.targets = torch.from_numpy(np.asarray(targets, dtype=np.int64))
        self.digest = digest

    def image(self, index: int) -> Image.Image:
        """One image, RGB.

        Raises:
            DataError: If it is truncated, no image, or gone.
        """
        try:
            with Image.open(io.BytesIO(self._read(index))) as image:
                return image.convert("RGB")
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            what = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
            raise DataError(
                f"{self._name(index)} is damaged ({what}); is it truncated? Replace it, or unpack the data again"
            ) from error


def file_source(files: Sequence[Path], targets: Sequence[int], root: Path) -> EncodedSource:
    """Images in files; known by their names, sizes and classes, so that opening them reads none.

    Args:
        files: The files.
        targets: Class index of each.
        root: Their common folder, which is no part of the digest.

    Returns:
        The source.
    """
    listed = "\n".join(
        f"{file.relative_to(root).as_posix()} {file.stat().st_size} {target}"
        for file, target in zip(files, targets, strict=True)
    )
    return EncodedSource(
        lambda index: files[index].read_bytes(),
        lambda index: str(files[index]),
        np.asarray(targets, dtype=np.int64),
        digest_of([listed.encode()]),
    )


def stream_source(jpeg: np.ndarray, offsets: np.ndarray, targets: np.ndarray, origin: str) -> EncodedSource:
    """JPEG files end to end in one array.

    Args:
        jpeg: The bytes, uint8.
        offsets: Where each image begins, and where the last ends: one more than there are images.
        targets: Class indices.
        origin: Where they come from, for messages.

    Returns:
        The source.

    Raises:
        DataError: If the offsets do not fit the bytes or the targets.
    """
    ordered = len(offsets) > 1 and bool((np.diff(offsets) > 0).all()) and offsets[0] == 0 and offsets[-1] == len(jpeg)
    if jpeg.dtype != np.uint8 or not ordered:
        raise DataError(f"{origin}: the offsets do not divide the {len(jpeg):,} bytes into images; is it damaged?")
    _checked(targets, len(offsets) - 1, origin)
    return EncodedSource(
        lambda index: jpeg[offsets[index] : offsets[index + 1]].tobytes(),
        lambda index: f"image {index} of {origin}",
        targets,
        digest_of([np.ascontiguousarray(jpeg).data, np.asarray(targets, dtype=np.int64).data]),
    )


def digest_of(parts: Iterable[bytes | memoryview]) -> str:
    """Digest of some bytes, 32 hexadecimal digits.

    Args:
        parts: The bytes, in order.
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def _channels_last(pixels: np.ndarray, origin: str) -> np.ndarray:
    if pixels.dtype == np.uint8 and pixels.size:
        if pixels.ndim == 4 and pixels.shape[3] == 3:
            return pixels
        if pixels.ndim == 4 and pixels.shape[1] == 3:
            return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        if pixels.ndim == 3:
            return pixels
    raise DataError(
        f"{origin}: holds pixels of type {pixels.dtype} and shape {pixels.shape}; expected uint8 of shape "
        "(images, 3, height, width), (images, height, width, 3) or (images, height, width)"
    )


def _checked(targets: np.ndarray, count: int, origin: str) -> Tensor:
    if len(targets) != count or targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise DataError(
            f"{origin}: {count} images and labels of type {targets.dtype} and shape {targets.shape}; "
            "expected a whole number for each image"
        )
    return torch.from_numpy(targets.astype(np.int64))
