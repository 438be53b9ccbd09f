"""Settings that studies are made of: how networks are trained, and in which precision."""

import math
from typing import Literal

import msgspec

from shrinkscope.errors import ShrinkscopeError


class ConfigError(ShrinkscopeError):
    """A study is described wrongly: an unknown field, a value out of range, a file that is not TOML."""


class StudyError(ShrinkscopeError):
    """A study cannot go on: a dense network is not good enough, a mask was not kept, a worker process died."""


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training by stochastic gradient descent with momentum.

    Attributes:
        epochs: Passes over the training data.
        batch_size: Samples a step; the last batch of an epoch is smaller when it does not divide the data.
        learning_rate: Learning rate at the start.
        momentum: Momentum in [0, 1).
        weight_decay: Coefficient of the L2 penalty, on all parameters.
        schedule: ``cosine`` anneals the learning rate towards 0 over the epochs, ``constant`` keeps it.

    Source: paper, Section 5.1; the released code's schedule is cosine.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs = {self.epochs}; expected at least 1")
        require(self.batch_size >= 1, f"batch_size = {self.batch_size}; expected at least 1")
        require(0 < self.learning_rate < math.inf, f"learning_rate = {self.learning_rate}; expected a positive number")
        require(0 <= self.momentum < 1, f"momentum = {self.momentum}; expected 0 up to, not including, 1")
        require(0 <= self.weight_decay < math.inf, f"weight_decay = {self.weight_decay}; expected 0 or more")


class Computation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a training step is computed; part of the study, because the numbers depend on it by rounding.

    Attributes:
        precision: ``float32``, or ``bfloat16``: forward and backward passes of training in mixed precision; weights,
            updates and every evaluation stay in float32.
        channels_last: Keep images with the channel as the fastest index, which convolutions on a GPU prefer.
        compile: Compile the training step's forward pass with torch.compile.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False


class Extraction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How features are computed; no part of a study, because their numbers depend on it by rounding alone.

    Attributes:
        batch_size: Images a forward pass; None: on a CPU as many as its caches like, 8 of 224 × 224 pixels to 32 small
            ones, on a GPU 256.
        channels_last: Keep images with the channel as the fastest index.
    """

    batch_size: int | None = None
    channels_last: bool = True

    def __post_init__(self) -> None:
        size = self.batch_size
        require(size is None or size >= 1, f"{size} images a forward pass for features; expected at least 1")


def require(condition: bool, message: str) -> None:
    """Refuse settings that contradict themselves.

    Args:
        condition: What must hold.
        message: One line that says what was found and what was expected.

    Raises:
        ConfigError: If it does not hold.
    """
    if not condition:
        raise ConfigError(message)


USUAL = Extraction()
"""How features are computed unless told otherwise."""
