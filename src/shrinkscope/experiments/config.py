"""What a study is: frozen values that a TOML file decodes into, with a stable identity."""

import hashlib
import math
import os
from pathlib import Path
from typing import Literal

import msgspec

from shrinkscope.errors import ShrinkscopeError
from shrinkscope.experiments.digits import Digits
from shrinkscope.latent import Gaussian, RotatedGaussian, StudentT, Uniform, resolve_latents

MethodName = Literal["lowest", "highest", "random"]
ScopeName = Literal["last", "all"]
LatentChoice = str | Gaussian | RotatedGaussian | StudentT | Uniform
Data = Digits


class ConfigError(ShrinkscopeError):
    """A study is described wrongly: an unknown field, a value out of range, a file that is not TOML."""


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
        _require(self.epochs >= 1, f"epochs = {self.epochs}; expected at least 1")
        _require(self.batch_size >= 1, f"batch_size = {self.batch_size}; expected at least 1")
        _require(_positive(self.learning_rate), f"learning_rate = {self.learning_rate}; expected a positive number")
        _require(0 <= self.momentum < 1, f"momentum = {self.momentum}; expected 0 up to, not including, 1")
        _require(0 <= self.weight_decay < math.inf, f"weight_decay = {self.weight_decay}; expected 0 or more")


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The paper's experiment on one network and data set: train, prune in every way of a grid, fine-tune, record.

    Attributes:
        name: What the study is called.
        training: How the dense networks are trained.
        finetuning: How pruned networks are trained on, the mask held.
        network: Name of the network, or ``package.module:function``.
        data: The data set.
        seed: Seed that all randomness derives from.
        trials: Dense networks, each trained from an initialisation and in an order of its own.
        methods: Which weights go: those of the lowest or highest magnitude, or a random choice.
        levels: Fractions of weights to remove, in (0, 1).
        scopes: ``last``: the level holds in the last layer, the others are not pruned; ``all``: in every convolution
            and linear layer.
        finetune: ``scope``: where only the last layer is pruned only that layer is trained on, the others (batch norm
            statistics included) stay as they are, as the paper's released code does; ``network``: always everything.
        dense_reference: ``best``: the epoch of highest held-out accuracy, as in the paper's text, which selects on
            the held-out data; ``last``: the last epoch, as in its released code.
        random_masks: ``trial``: another random choice in each trial; ``fixed``: the same in all, as in the paper's
            released code. Within a trial the choice of a higher level contains that of a lower one.
        minimum_accuracy: Accuracy on held-out data, in [0, 1], that each dense network must reach.
        latents: Latent distributions, by name or in full; each becomes an AP3.
        curvature_samples: Training samples on which the curvature of the loss between a dense network and a fine-tuned
            one is looked for where all layers are trained; 0 leaves Theorem 3.6 without a value there.
    """

    name: str
    training: Training
    finetuning: Training
    network: str = "digits"
    data: Data = Digits()
    seed: int = 1
    trials: int = 3
    methods: tuple[MethodName, ...] = ("lowest", "highest", "random")
    levels: tuple[float, ...] = (0.1, 0.3, 0.5, 0.8)
    scopes: tuple[ScopeName, ...] = ("last",)
    finetune: Literal["scope", "network"] = "scope"
    dense_reference: Literal["best", "last"] = "best"
    random_masks: Literal["trial", "fixed"] = "trial"
    minimum_accuracy: float = 0.0
    latents: tuple[LatentChoice, ...] = ("gaussian", "gaussian_rotated", "student_t", "student_t_grouped")
    curvature_samples: int = 256

    def __post_init__(self) -> None:
        _require(self.trials >= 1, f"trials = {self.trials}; expected at least 1")
        _require(0 <= self.minimum_accuracy <= 1, f"minimum_accuracy = {self.minimum_accuracy}; expected 0 to 1")
        for field in ("methods", "levels", "scopes", "latents"):
            values = getattr(self, field)
            _require(len(values) > 0, f"{field} is empty; expected at least one")
            _require(len(set(values)) == len(values), f"{field} = {list(values)}; expected each once")
        for level in self.levels:
            _require(0 < level < 1, f"level {level}; expected a fraction of weights to remove, between 0 and 1")
        _require(self.curvature_samples >= 0, f"curvature_samples = {self.curvature_samples}; expected 0 or more")
        resolve_latents(self.latents)


def encode(study: Study) -> str:
    """The study as canonical JSON: every field, defaults included, sorted by name.

    Args:
        study: The study.

    Returns:
        One line of JSON, equal for equal studies.
    """
    return msgspec.json.encode(study, order="sorted").decode()


def identity(study: Study) -> str:
    """SHA-256 of the study's canonical JSON, in hexadecimal; equal studies have equal identities everywhere.

    Args:
        study: The study.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(encode(study).encode()).hexdigest()


def load_study(path: str | os.PathLike[str]) -> Study:
    """Read a study from a TOML file.

    Args:
        path: The file.

    Returns:
        The study.

    Raises:
        ConfigError: If the file is missing, not TOML, or describes no study; an unknown field is answered with those
            that exist.
        DataError: If the data set is described wrongly.
        LatentError: If a latent distribution is unknown.
    """
    try:
        return msgspec.toml.decode(Path(path).read_bytes(), type=Study)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}{_known_fields(str(error))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _known_fields(message: str) -> str:
    if "unknown field" not in message:
        return ""
    # The location reads `$.training` or, for the study itself, is absent.
    place = message.partition("$.")[2].rstrip("`")
    owner = {"training": Training, "finetuning": Training, "data": Digits, "": Study}.get(place)
    return f"; the fields are {', '.join(owner.__struct_fields__)}" if owner else ""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _positive(value: float) -> bool:
    return 0 < value < math.inf
