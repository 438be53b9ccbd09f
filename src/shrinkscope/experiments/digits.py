"""The 1,797 handwritten digits that scikit-learn installs, and the small network that learns them."""

import gzip
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError

_DIGITS = 1797
_CLASSES = 10
_LARGEST_PIXEL = 16.0
_FILE = "sklearn/datasets/data/digits.csv.gz"

Samples = tuple[Tensor, Tensor]


class Digits(msgspec.Struct, frozen=True, kw_only=True, tag="digits", tag_field="kind", forbid_unknown_fields=True):
    """Handwritten digits of 8 × 8 pixels, split with the same share of each class on both sides.

    Attributes:
        test_size: Number of held-out digits; the other 1,797 - test_size are trained on.
        seed: Seed of the split, the same for all trials: they differ in initialisation and order alone.

    Raises:
        DataError: If a class would be missing on one side, or the seed is negative.
    """

    test_size: int = 360
    seed: int = 0

    def __post_init__(self) -> None:
        if not _CLASSES <= self.test_size <= _DIGITS - _CLASSES:
            raise DataError(f"test_size = {self.test_size}; expected {_CLASSES} to {_DIGITS - _CLASSES} of the digits")
        if not 0 <= self.seed < 2**32:
            raise DataError(f"seed = {self.seed}; expected 0 to 2^32 - 1")


class Split(NamedTuple):
    """Training and held-out samples: inputs (samples, channels, height, width), targets (samples,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def train(self) -> Samples:
        """Inputs and targets to train on."""
        return self.x_train, self.y_train

    @property
    def test(self) -> Samples:
        """Inputs and targets held out."""
        return self.x_test, self.y_test


def load_digits_split(settings: Digits | None = None) -> Split:
    """The digits, split and standardised: float32 inputs of shape (n, 1, 8, 8) without unit, int64 targets.

    Args:
        settings: Sizes and seed of the split; by default 1,437 to train on and 360 held out, seed 0.

    Returns:
        The split; pixels are divided by 16 and standardised with the mean and deviation of the training pixels, so
        that nothing of the held-out digits enters training. The order is that of scikit-learn's table.

    Raises:
        DataError: If the installed digits cannot be read.
    """
    settings = settings or Digits()
    table = torch.from_numpy(_installed_table())
    pixels = (table[:, :-1] / _LARGEST_PIXEL).to(torch.float32).reshape(-1, 1, 8, 8)
    labels = table[:, -1].to(torch.int64)
    held_out = _stratified(labels, settings)
    mean, deviation = pixels[~held_out].mean(), pixels[~held_out].std()
    inputs = (pixels - mean) / deviation
    return Split(inputs[~held_out], labels[~held_out], inputs[held_out], labels[held_out])


def _installed_table() -> np.ndarray:
    """The digits as scikit-learn installs them: a row each, 64 pixels from 0 to 16 and the class."""
    # Read as a file: importing scikit-learn takes as long as importing torch, in every worker process.
    path = Path(str(distribution("scikit-learn").locate_file(_FILE)))
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the digits in {path}: {error}; reinstall scikit-learn") from error
    if table.shape != (_DIGITS, 8 * 8 + 1):
        raise DataError(f"{path} holds a table of shape {table.shape}; expected (1797, 65), 8 × 8 pixels and a class")
    return table


def _stratified(labels: Tensor, settings: Digits) -> Tensor:
    """Which digits are held out: the same share of each class, to the nearest digit, drawn at random."""
    counts = torch.bincount(labels)
    shares = counts.to(torch.float64) * settings.test_size / len(labels)
    sizes = shares.floor().to(torch.int64)
    # What rounding down leaves over goes to the classes that lost most by it.
    left = settings.test_size - int(sizes.sum())
    sizes[torch.argsort(shares - sizes, descending=True, stable=True)[:left]] += 1
    generator = torch.Generator().manual_seed(settings.seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, size in enumerate(sizes.tolist()):
        members = (labels == label).nonzero()[:, 0]
        held_out[members[torch.randperm(len(members), generator=generator)[:size]]] = True
    return held_out


class DigitsNet(nn.Module):
    """Two convolutions with batch norm and a linear head: (n, 1, 8, 8) inputs to (n, 10) logits.

    The first convolution has stride 2, which halves the time of an epoch and costs no accuracy.

    Args:
        channels: Output channels of the two convolutions.
    """

    def __init__(self, channels: tuple[int, int] = (12, 16)) -> None:
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(1, first, kernel_size=3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(second * 2 * 2, _CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the ten classes."""
        hidden = torch.relu(self.bn1(self.conv1(inputs)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        return self.head(self.pool(hidden).flatten(start_dim=1))
