"""What a study is: frozen values that a TOML file decodes into, with a stable identity."""

import difflib
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from shrinkscope.experiments.data.settings import Arrays, Cifar, ImageFolder, Images, TinyImageNet, Transform
from shrinkscope.experiments.digits import Digits
from shrinkscope.experiments.settings import Computation, ConfigError, Training, require
from shrinkscope.latent import Gaussian, RotatedGaussian, SampledStudentT, StudentT, Uniform, resolve_latents

__all__ = ["ConfigError", "Data", "Study", "Training", "encode", "identity", "load_study"]

MethodName = Literal["lowest", "highest", "random"]
ScopeName = Literal["last", "all"]
LatentChoice = str | Gaussian | RotatedGaussian | StudentT | SampledStudentT | Uniform
Data = Digits | Cifar | TinyImageNet | ImageFolder | Arrays


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The paper's experiment on one network and data set: train, prune in every way of a grid, fine-tune, record.

    Attributes:
        name: What the study is called.
        training: How the dense networks are trained; None: the given weights are used as they are.
        trained: ``network``: training changes everything; ``last``: the last layer alone, batch norm statistics of the
            others included, as where a classifier is put on a pre-trained network.
        finetuning: How pruned networks are trained on, the mask held.
        network: Name of the network, ``torchvision:NAME``, ``transformers:NAME`` or ``package.module:function``.
        weights: Where the dense networks start: a file of weights, or what torchvision or transformers call them (such
            as ``IMAGENET1K_V1``, ``pretrained``). None: from an initialisation that differs by trial. ``--weights``
            takes its place; a run's identity has the file's digest, not its place.
        head: ``keep``: the last layer as the weights have it, whose classes must be the data's; ``new``: a new last
            layer for the classes of the data, initialised differently in each trial.
        data: The data set.
        seed: Seed that all randomness derives from.
        trials: Dense networks, each trained from an initialisation and in an order of its own.
        methods: Which weights go: those of the lowest or highest magnitude, or a random choice.
        structure: ``weights``: single weights are removed; ``channels``: whole output neurons or filters, ranked by
            their L1 norm, as in the structured variant of the paper's released code.
        levels: Fractions of weights (or of channels) to remove, in (0, 1).
        scopes: ``last``: the level holds in the last layer, the others are not pruned; ``all``: in every convolution
            and linear layer.
        last: Name of the weight that scope ``last`` means, by default the last one; the released code optionally takes
            the last dense layer of a ViT's encoder.
        highest: ``magnitude``: "highest" removes the largest weights and leaves the others, as in the paper's text;
            ``overwritten``: it first puts |w| − max|w| in their place, as the released code does.
        finetune: ``scope``: where only the last layer is pruned only that layer is trained on, the others (batch norm
            statistics included) stay as they are; ``biases``: the gradients of all other layers' weights are zero, but
            their biases, weight decay, momentum and batch norm statistics act, as in the paper's released code;
            ``network``: always everything.
        dense_reference: ``best``: the epoch of highest held-out accuracy, as in the paper's text, which selects on
            the held-out data; ``last``: the last epoch, as in its released code.
        random_masks: ``trial``: another random choice in each trial; ``fixed``: the same in all, as in the paper's
            released code. Within a trial the choice of a higher level contains that of a lower one.
        minimum_accuracy: Accuracy on held-out data, in [0, 1], that each dense network must reach.
        latents: Latent distributions, by name or in full; each becomes an AP3.
        released_gaussian: Also record √(ΔᵀΣ⁻¹Δ) with Σ = (0.001/√d) I for each layer, which the released code calls AP3
            of a non-diagonal Gaussian.
        curvature_samples: Training samples on which the curvature of the loss between a dense network and a fine-tuned
            one is looked for where all layers are trained; 0 leaves Theorem 3.6 without a value there.
        iterations: Follow fine-tuning as a path towards its last epoch: both ε of the theory and Theorem 3.6.
        evaluated_samples: Measure performance on the training data on this many of them, drawn once; all by default.
        predictive_samples: Also record the predictive latent, E KL(p‖q) in nats with p and q what the dense network and
            the compressed one predict, on this many training samples, drawn once, whose labels are not looked at; 0
            records none. Performance on held-out data is measured on others.
        path: ``features``: inputs of the last layer are computed once, and all heads are trained on them together;
            ``whole``: every step runs the whole network; ``auto``: features where the last layer alone is trained
            on images.
        views: With ``features`` and augmentation: augmented views of each image that are computed; epoch t uses view
            t modulo this number.
        computation: Precision and layout of training steps.
    """

    name: str
    finetuning: Training
    training: Training | None = None
    trained: Literal["network", "last"] = "network"
    network: str = "digits"
    weights: str | None = None
    head: Literal["keep", "new"] = "keep"
    data: Data = Digits()
    seed: int = 1
    trials: int = 3
    methods: tuple[MethodName, ...] = ("lowest", "highest", "random")
    structure: Literal["weights", "channels"] = "weights"
    levels: tuple[float, ...] = (0.1, 0.3, 0.5, 0.8)
    scopes: tuple[ScopeName, ...] = ("last",)
    last: str | None = None
    highest: Literal["magnitude", "overwritten"] = "magnitude"
    finetune: Literal["scope", "biases", "network"] = "scope"
    dense_reference: Literal["best", "last"] = "best"
    random_masks: Literal["trial", "fixed"] = "trial"
    minimum_accuracy: float = 0.0
    latents: tuple[LatentChoice, ...] = ("gaussian", "gaussian_rotated", "student_t", "student_t_grouped")
    released_gaussian: bool = False
    curvature_samples: int = 256
    iterations: bool = True
    evaluated_samples: int | None = None
    predictive_samples: int = 0
    path: Literal["auto", "features", "whole"] = "auto"
    views: int = 1
    computation: Computation = Computation()

    def __post_init__(self) -> None:
        require(self.trials >= 1, f"trials = {self.trials}; expected at least 1")
        require(0 <= self.minimum_accuracy <= 1, f"minimum_accuracy = {self.minimum_accuracy}; expected 0 to 1")
        for field in ("methods", "levels", "scopes", "latents"):
            values = getattr(self, field)
            require(len(values) > 0, f"{field} is empty; expected at least one")
            require(len(set(values)) == len(values), f"{field} = {list(values)}; expected each once")
        for level in self.levels:
            require(0 < level < 1, f"level {level}; expected a fraction of weights to remove, between 0 and 1")
        require(self.curvature_samples >= 0, f"curvature_samples = {self.curvature_samples}; expected 0 or more")
        resolve_latents(self.latents)
        require(self.views >= 1, f"views = {self.views}; expected at least 1")
        evaluated = self.evaluated_samples
        require(evaluated is None or evaluated >= 1, f"evaluated_samples = {evaluated}; expected at least 1")
        compared = self.predictive_samples
        require(compared == 0 or compared >= 2, f"predictive_samples = {compared}; expected 0, or 2 and more")
        require(
            self.training is not None or (self.weights is not None and self.head == "keep"),
            "no training: expected a table [training], or weights to use as they are (with head = 'keep')",
        )
        require(
            self.path != "features" or (self.scopes == ("last",) and self.finetune == "scope"),
            "path = 'features' trains the last layer alone; expected scopes = ['last'] and finetune = 'scope'",
        )


def encode(study: Study) -> str:
    """The study as canonical JSON: every field, defaults included, sorted by name; where files lie is left out.

    Args:
        study: The study.

    Returns:
        One line of JSON, equal for equal studies.
    """
    return msgspec.json.encode(placeless(study), order="sorted").decode()


def placeless(study: Study) -> Study:
    """The study without the folders of its data and weights, which say nothing about the numbers.

    Args:
        study: The study.

    Returns:
        The study with ``data.root`` removed, and a file of weights reduced to its name.
    """
    changes: dict[str, Any] = {}
    if isinstance(study.data, Images):
        changes["data"] = msgspec.structs.replace(study.data, root=None)
    if study.weights is not None:
        changes["weights"] = Path(study.weights).name
    return msgspec.structs.replace(study, **changes) if changes else study


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
        raise ConfigError(f"{path}: {error}{_known_fields(str(error), Path(path))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _known_fields(message: str, path: Path) -> str:
    if "unknown field" not in message:
        return ""
    # The location reads `$.training` or, for the study itself, is absent.
    place = message.partition("$.")[2].rstrip("`")
    owner = _OWNERS.get(place) or _data_set(path) if place in (*_OWNERS, "data") else None
    if owner is None:
        return ""
    alike = difflib.get_close_matches(message.split("`")[1], owner.__struct_fields__, n=1)
    return f"; the fields are {', '.join(owner.__struct_fields__)}{f'; did you mean {alike[0]}?' if alike else ''}"


def _data_set(path: Path) -> type[msgspec.Struct] | None:
    """The data set that a file means, found by its kind."""
    kind = msgspec.toml.decode(path.read_bytes()).get("data", {}).get("kind")
    return next((known for known in Data.__args__ if known.__struct_config__.tag == kind), None)


_OWNERS: dict[str, type[msgspec.Struct]] = {
    "": Study,
    "training": Training,
    "finetuning": Training,
    "computation": Computation,
    "data.transform": Transform,
}
