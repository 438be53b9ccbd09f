"""From images to inputs: random crops and flips that depend on seed, epoch and image alone, and normalisation."""

import math
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shrinkscope.experiments.data.settings import Transform

_ATTEMPTS = 10
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_MARGIN = 8  # of the crop: this fraction of the side

Box = tuple[int, int, int, int]


def plain_image(image: Image.Image, transform: Transform) -> np.ndarray:
    """An image as it is evaluated: the shorter side scaled to the size, and the square at the centre.

    Args:
        image: RGB.
        transform: The transform.

    Returns:
        Bytes, shape (height, width, 3).

    Source: torchvision's Resize and CenterCrop; tests/experiments/data/test_transform.py compares with them.
    """
    size = transform.size
    if size is not None:
        width, height = image.size
        shorter = min(width, height)
        scaled = (int(size * width / shorter), int(size * height / shorter))
        if scaled != image.size:
            image = image.resize(scaled, Image.Resampling.BILINEAR)
        left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def augmented_image(image: Image.Image, transform: Transform, draw: Random) -> np.ndarray:
    """An image as it is trained on.

    Args:
        image: RGB.
        transform: The transform.
        draw: Makes the random choices of this image.

    Returns:
        Bytes, shape (height, width, 3).
    """
    if transform.augmentation == "none":
        return plain_image(image, transform)
    if transform.augmentation == "resized_crop":
        assert transform.size is not None  # a transform without one cannot be made
        part = image.crop(_resized_crop(image.size, draw))
        found = np.asarray(part.resize((transform.size, transform.size), Image.Resampling.BILINEAR))
    else:
        found = plain_image(image, transform)
        if transform.augmentation == "crop":
            found = _margin_crop(found, draw)
    return found[:, ::-1] if draw.random() < 0.5 else found


def drawing(seed: int, epoch: int, index: int) -> Random:
    """The source of an image's random choices: the same whatever the order, the batch and the thread.

    Args:
        seed: Seed of the augmentation.
        epoch: Epoch, or number of the view.
        index: Number of the image in its data set.
    """
    return Random(f"{seed}/{epoch}/{index}")  # noqa: S311  # no secret


def normalised(pixels: Tensor, transform: Transform) -> Tensor:
    """Inputs from bytes: (pixel/255 − mean)/deviation by channel.

    Args:
        pixels: uint8, shape (images, 3, height, width), on any device.
        transform: The transform.

    Returns:
        float32, without unit.
    """
    shape = (1, 3, 1, 1)
    mean = torch.tensor(transform.mean, device=pixels.device).view(shape)
    deviation = torch.tensor(transform.deviation, device=pixels.device).view(shape)
    return pixels.to(torch.float32).div_(255.0).sub_(mean).div_(deviation)


def _resized_crop(size: tuple[int, int], draw: Random) -> Box:
    """A random part by area and aspect ratio, uniform in the ratio's logarithm; the largest allowed if none fits."""
    width, height = size
    low, high = math.log(_ASPECT[0]), math.log(_ASPECT[1])
    for _ in range(_ATTEMPTS):
        area = width * height * (_AREA[0] + (_AREA[1] - _AREA[0]) * draw.random())
        ratio = math.exp(low + (high - low) * draw.random())
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(draw.random() * (width - across + 1)), int(draw.random() * (height - down + 1))
            return left, top, left + across, top + down
    across = min(width, round(height * _ASPECT[1]))
    down = min(height, round(width / _ASPECT[0]))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _margin_crop(pixels: np.ndarray, draw: Random) -> np.ndarray:
    height, width, _ = pixels.shape
    down, across = height // _MARGIN, width // _MARGIN
    wide = np.pad(pixels, ((down, down), (across, across), (0, 0)))
    top, left = int(draw.random() * (2 * down + 1)), int(draw.random() * (2 * across + 1))
    return wide[top : top + height, left : left + width]
