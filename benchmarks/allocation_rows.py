"""What the allocation benchmark keeps of a choice: which images are right, a bit each, and accuracies of them."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of one network; none where nothing was measured."""
    return json.loads(path.read_text()) if path.exists() else []


def percent(right: Tensor) -> float:
    """Percent of images that are right."""
    return 100 * float(right.double().mean())


def packed(right: Tensor) -> str:
    """A bit an image, as text."""
    return base64.b64encode(zlib.compress(np.packbits(right.numpy()).tobytes(), 9)).decode()


def unpacked(text: str, images: int) -> NDArray[np.float64]:
    """1 for each image that is right, 0 for each other.

    Args:
        text: Of ``packed``.
        images: How many there are.
    """
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return np.unpackbits(bits, count=images).astype(float)
