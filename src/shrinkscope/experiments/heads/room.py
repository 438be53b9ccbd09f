"""Whether there is room for features on the disk and for heads in memory, told in bytes before anything is computed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from torch import nn

from shrinkscope.curvature.memory import available_bytes, readable
from shrinkscope.errors import OutputError
from shrinkscope.experiments.heads.evaluate import AT_ONCE
from shrinkscope.experiments.heads.extract import features_path
from shrinkscope.experiments.heads.locate import head_layer
from shrinkscope.experiments.heads.trial import head_name, targets_of, views_of
from shrinkscope.experiments.settings import StudyError, Training
from shrinkscope.experiments.study import Bench

_HEADER = 128  # of a file of features, in bytes
# A weight of a head in float32: as it begins, and again as it was kept of an earlier run (4 + 4 + 4: the head, its kept
# weights and velocities), as it is, its velocity, its gradient (4 each), and twice whether it was removed (1 each).
_A_WEIGHT = 3 * 4 + 3 * 4 + 2 * 1
_AN_INPUT = 2 * 4  # a feature of a mini-batch: gathered from its trial, and side by side with those of the others
_A_LOGIT = 3 * 4  # of a mini-batch: the product, its softmax, and one temporary
_AN_OUTCOME = 2 * 8  # loss and correctness of a head on a sample, in float64
_JUDGED = 4 * 8  # a logit while heads are evaluated: float32, its copy by samples, and float64 with a temporary


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """How large a training of heads is.

    Attributes:
        trials: Trials that are trained together.
        heads: Heads of each.
        classes: Outputs of a head.
        features: Inputs of a head.
        batch_size: Samples a step.
        samples: Samples that heads are evaluated on, training and held-out ones.
        resident: Bytes of features that are copied to the device; 0 on the CPU, which maps them from their file.
    """

    trials: int
    heads: int
    classes: int
    features: int
    batch_size: int
    samples: int
    resident: int = 0

    @property
    def needed(self) -> int:
        """Bytes that training and evaluating them take at most, in memory."""
        everything = self.trials * self.heads
        weights = everything * self.classes * (self.features + 1)
        batch = self.trials * self.batch_size * (self.features * _AN_INPUT + self.heads * self.classes * _A_LOGIT)
        logits = min(AT_ONCE, self.heads * self.classes * self.samples)
        judged = logits * _JUDGED + self.heads * self.samples * _AN_OUTCOME
        # A step and an evaluation come one after the other.
        return weights * _A_WEIGHT + max(batch, judged) + self.resident


def require_room(
    bench: Bench, models: Sequence[nn.Module], heads: int, settings: Training | None, folder: Path
) -> None:
    """Refuse features and heads that do not fit, before hours of computing.

    Args:
        bench: The study.
        models: The network of each trial.
        heads: How many heads each has.
        settings: How they are trained; None: not at all.
        folder: Where features are kept.

    Raises:
        StudyError: If the heads do not fit into memory.
        OutputError: If the disk has no room for the features.
        FeaturesError: If a network does not end in a linear layer.
    """
    layer = head_layer(models[0], head_name(bench, models[0]))
    train, test = (len(targets_of(part)) for part in (bench.data.train, bench.data.test))
    size = Heads(
        trials=len(models),
        heads=heads,
        classes=layer.out_features,
        features=layer.in_features,
        batch_size=settings.batch_size if settings else 1,
        samples=train + test,
        resident=0 if bench.device == "cpu" else 4 * len(models) * train * layer.in_features,
    )
    require_memory(size, bench.device)
    missing: dict[Path, int] = {}
    for model in models:
        missing |= missing_features(bench, model, folder)
    require_disk(folder, sum(missing.values()), len(views_of(bench)))


def require_memory(heads: Heads, device: str = "cpu") -> None:
    """Refuse heads that do not fit into memory, before features are computed for them.

    Args:
        heads: How large they are.
        device: Where they are trained.

    Raises:
        StudyError: If they need more than is available, within a container's limit.
    """
    free = available_bytes(device)
    if free is not None and heads.needed > free:
        raise StudyError(
            f"{heads.trials * heads.heads} heads of {heads.classes:,} × {heads.features:,} weights need about "
            f"{heads.needed:,} bytes ({readable(heads.needed)}) and {free:,} bytes ({readable(free)}) are available on "
            f"{device}; train fewer at once with --only, such as --only 'trial-1/*', or with a smaller batch_size"
        )


def missing_features(bench: Bench, model: nn.Module, folder: Path) -> dict[Path, int]:
    """The files of features that a trial needs, and the bytes that each will take beyond those it takes already.

    Args:
        bench: The data.
        model: The network of the trial.
        folder: Where features are kept.

    Raises:
        FeaturesError: If the network does not end in a linear layer.
        DataError: If the data cannot be read.
    """
    width = head_layer(model, head_name(bench, model)).in_features
    train, test = bench.data.train, bench.data.test
    wanted = [(train, None), (test, None), *((train, view) for view in views_of(bench))]
    paths = {features_path(model, source, folder, view): len(targets_of(source)) for source, view in wanted}
    return {path: missing_bytes(path, samples, width) for path, samples in paths.items()}


def missing_bytes(path: Path, samples: int, features: int, itemsize: int = 4) -> int:
    """Bytes that a file of features will take beyond those that it takes already.

    Args:
        path: The file, as it is called when it is complete.
        samples: Samples it is for.
        features: Features of each.
        itemsize: Bytes of one.
    """
    if path.is_file():
        return 0
    whole = _HEADER + samples * features * itemsize
    try:
        begun = path.with_suffix(".partial").stat()
    except OSError:
        return whole
    # Blocks, not the length: where they cannot be allocated at once the file has holes.
    return max(0, whole - 512 * getattr(begun, "st_blocks", begun.st_size // 512))


def require_disk(folder: Path, needed: int, views: int) -> None:
    """Refuse features that do not fit onto their disk, before the first is computed.

    Args:
        folder: Where they are kept; it need not exist.
        needed: Bytes they will take.
        views: How many augmented views of each image are among them.

    Raises:
        OutputError: If the disk has less.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        fewer = f", or fewer than views = {views} in the study" if views > 1 else ""
        raise OutputError(
            f"features would take {needed:,} bytes ({readable(needed)}) in {folder}, where {free:,} bytes "
            f"({readable(free)}) are free; give another folder with --out{fewer}"
        )
