"""What the cells of one trial share on the short way: the features of its network on all samples."""

from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.experiments.data import ImageData, Part
from shrinkscope.experiments.heads.evaluate import Judged
from shrinkscope.experiments.heads.extract import extract
from shrinkscope.experiments.heads.key import Samples, View
from shrinkscope.experiments.heads.locate import FeaturesError, find_head
from shrinkscope.experiments.heads.measure import Parts
from shrinkscope.experiments.samples import drawn_rows
from shrinkscope.experiments.seeds import derived_seed
from shrinkscope.experiments.stage import OnStage
from shrinkscope.experiments.study import Bench
from shrinkscope.performance.forward import placement


class TrialFeatures(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Features of the samples of a study under one network.

    Attributes:
        head: Name of the last layer.
        views: Of the training samples: one tensor, or one for each augmented view.
        plain: Of the training samples as they are evaluated, all of them.
        measured: Of those that performance is measured on.
        unlabelled: Of those that predictions are compared on; None: of none.
    """

    head: str
    views: list[Tensor]
    plain: Judged
    measured: Parts
    unlabelled: Judged | None


def trial_features(bench: Bench, model: nn.Module, folder: Path, progress: OnStage | None) -> TrialFeatures:
    """The features of a study's samples under one network, from files or computed now.

    Args:
        bench: The data.
        model: The network.
        folder: Where features are kept.
        progress: Called after each block of an extraction.

    Returns:
        Features mapped from their files.

    Raises:
        FeaturesError: If the network does not end in a linear layer.
        OutputError: If a file cannot be written.
        DataError: If the data cannot be read.
    """

    def features(part: str, view: View | None = None) -> Tensor:
        source = getattr(bench.data, part)
        return extract(model, source, folder, view=view, how=bench.extraction, progress=progress)

    plain = Judged(features("train"), targets_of(bench.data.train))
    views = [features("train", view) for view in views_of(bench)] or [plain.features]
    test = Judged(features("test"), targets_of(bench.data.test))
    compared = bench.unlabelled
    measured = _chosen(plain, bench.study.evaluated_samples, bench.measured.train)
    return TrialFeatures(
        head=head_name(bench, model),
        views=views,
        plain=plain,
        measured={"train": measured, "test": test},
        unlabelled=None if compared is None else _chosen(plain, bench.study.predictive_samples, compared),
    )


def views_of(bench: Bench) -> list[View]:
    """The augmented views of each training image; none where nothing is augmented.

    Args:
        bench: The study.
    """
    if not isinstance(bench.data, ImageData) or bench.data.train.transform.augmentation == "none":
        return []
    seed = derived_seed(bench.study.seed, "views")
    return [(seed, number) for number in range(bench.study.views)]


def head_name(bench: Bench, model: nn.Module) -> str:
    """Name of the linear layer whose output is the network's.

    Args:
        bench: The data, of which two samples are looked at.
        model: The network.

    Raises:
        FeaturesError: If it does not end in one.
    """
    test = bench.data.test
    inputs = next(iter(test.rows(torch.arange(2), 2)))[0] if isinstance(test, Part) else test[0][:2]
    return find_head(model, inputs.to(*placement(model)))


def _chosen(everything: Judged, samples: int | None, meant: Part | Samples) -> Judged:
    """Some of the training samples, those that a whole network would be given."""
    if samples is None or samples >= len(everything.targets):
        return everything
    drawn = drawn_rows(len(everything.targets), samples)
    targets = everything.targets[drawn]
    if not torch.equal(targets, targets_of(meant)):
        raise FeaturesError("other training samples are measured than their features were chosen for; path = 'whole'")
    return Judged(everything.features[drawn], targets)


def targets_of(found: Part | Samples) -> Tensor:
    """Class indices of samples, on the CPU.

    Args:
        found: The samples.
    """
    return (found.targets if isinstance(found, Part) else found[1]).cpu()
