"""The paper's experiment: the cells of its grid, and how one of them is carried out."""

import copy
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from shrinkscope.compression import MagnitudePruning, Mask, RandomPruning, mask_drift, prune
from shrinkscope.errors import CurvatureError, ShrinkscopeError
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.digits import Digits, Split, load_digits_split
from shrinkscope.experiments.fixed_statistics import FixedStatistics, State, tensors_of_function
from shrinkscope.experiments.iteration_bounds import SmoothLoss, last_layer_loss, path_loss
from shrinkscope.experiments.iterations import iteration_records
from shrinkscope.experiments.measure import Reference, dense_records, epoch_records
from shrinkscope.experiments.networks import load_network_file, new_network, save_network
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.seeds import derived_generator, derived_seed
from shrinkscope.experiments.snapshots import Snapshots
from shrinkscope.experiments.train import train
from shrinkscope.performance import evaluate
from shrinkscope.weights import compressible, open_weights


class StudyError(ShrinkscopeError):
    """A study cannot go on: a dense network is not good enough, a mask was not kept, a worker process died."""


def dense_cells(study: Study) -> list[Cell]:
    """The cells that train the dense networks, one a trial; the others build on them.

    Args:
        study: The study.

    Returns:
        One cell for each trial.
    """
    return [Cell(trial=trial) for trial in range(1, study.trials + 1)]


def pruned_cells(study: Study) -> list[Cell]:
    """The cells that prune and fine-tune: trials × scopes × methods × levels.

    Args:
        study: The study.

    Returns:
        The cells; those that prune everything first, for they take longest and should not come last to a worker.
    """
    scopes = sorted(study.scopes, key=("all", "last").index)
    grid = itertools.product(scopes, range(1, study.trials + 1), study.methods, study.levels)
    return [Cell(trial=trial, scope=scope, method=method, level=level) for scope, trial, method, level in grid]


class Bench:
    """What the cells of one study share in one process: the data and the dense networks.

    Args:
        study: The study.
        folder: Folder of its networks.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study = study
        self.folder = folder

    @functools.cached_property
    def data(self) -> Split:
        """The data set."""
        if not isinstance(self.study.data, Digits):
            raise StudyError(f"{type(self.study.data).__name__} cannot be loaded yet; expected the digits")
        return load_digits_split(self.study.data)

    def network_path(self, cell: Cell) -> Path:
        """Where the network of a cell is kept.

        Args:
            cell: The cell.

        Returns:
            A .safetensors file.
        """
        name = "dense" if cell.dense else f"{cell.scope}-{cell.method}-{cell.level:g}"
        return self.folder / f"trial-{cell.trial}" / f"{name}.safetensors"

    def carry_out(self, cell: Cell) -> list[Record]:
        """Train, or prune and fine-tune; write the network and return the numbers.

        Args:
            cell: What to do; the dense cell of its trial must have been carried out.

        Returns:
            Its records, the same whichever cells came before.

        Raises:
            StudyError: If a dense network misses the required accuracy, or a pruned one has not as many zeros as its
                mask removes.
            OutputError: If the network cannot be written.
            WeightsError: If the dense network cannot be read.
        """
        model, records = self._train_dense(cell.trial) if cell.dense else self._compress(cell)
        save_network(self.network_path(cell), model, f"{self.study.name}: {cell}")
        return records

    def _train_dense(self, trial: int) -> tuple[nn.Module, list[Record]]:
        study = self.study
        model = new_network(study.network, derived_seed(study.seed, "initialisation", trial))
        best = _BestEpoch(model, self.data) if study.dense_reference == "best" and study.training else None
        order = derived_generator(study.seed, "training order", trial)
        if study.training is not None:
            train(model, self.data.train, study.training, order, after_epoch=best)
        if best is not None:
            model.load_state_dict(best.state)
        reference = Reference.of(model, self.data)
        _require_accuracy(reference, trial, study.minimum_accuracy)
        return model, dense_records(reference)

    def _compress(self, cell: Cell) -> tuple[nn.Module, list[Record]]:
        study = self.study
        dense, reference = self._reference(cell.trial)
        model = copy.deepcopy(dense)
        mask = self._prune(model, cell)
        only = tuple(mask) if cell.scope == "last" and study.finetune == "scope" else None
        records: list[Record] = []
        with Snapshots(_trained(model, only), self.network_path(cell).parent) as path:

            def record(epoch: int) -> None:
                records.extend(epoch_records(reference, model, self.data, study.latents, epoch))
                path.keep(model)

            record(0)
            # The order of the samples is the trial's alone, so that cells differ in what was removed and nothing else.
            order = derived_generator(study.seed, "fine-tuning order", cell.trial)
            train(model, self.data.train, study.finetuning, order, mask=mask, only=only, after_epoch=record)
            require_zeros(model, mask, str(cell))
            followed, loss = self._followed(cell.trial, path, only)
            records += iteration_records(reference.weights, followed, records, study.latents, loss)
        return model, records

    def _prune(self, model: nn.Module, cell: Cell) -> Mask:
        scope = "last" if cell.scope == "last" else "layer"
        if cell.method == "random":
            # Scores depend on the trial alone, so that a higher level removes what a lower one does, and more.
            trial = cell.trial if self.study.random_masks == "trial" else 1
            scores = derived_generator(self.study.seed, "random mask", trial)
            return prune(model, RandomPruning(level=cell.level, scope=scope), generator=scores)
        order = "lowest" if cell.method == "lowest" else "highest"
        return prune(model, MagnitudePruning(level=cell.level, order=order, scope=scope))

    # Bounded, because a large network's reference is as large as the network.
    @functools.lru_cache(maxsize=4)  # noqa: B019  # a bench lives as long as its process
    def _reference(self, trial: int) -> tuple[nn.Module, Reference]:
        dense = load_network_file(self.network_path(Cell(trial=trial)), self.study.network)
        return dense, Reference.of(dense, self.data)

    def _followed(
        self, trial: int, path: Snapshots, only: tuple[str, ...] | None
    ) -> tuple[Sequence[State], SmoothLoss | str]:
        """The path as one of parameters, and the constants of the training loss along it or why there are none."""
        if only is not None:
            return path, self._last_layer(trial, only)
        dense, _ = self._reference(trial)
        try:
            fixed = FixedStatistics(dense, path)
            if not self.study.curvature_samples:
                return fixed, "curvature_samples = 0: where all layers are trained, the curvature is not looked for"
            return fixed, path_loss(dense, self.data.train, (fixed[0], fixed[-1]), self.study.curvature_samples)
        except CurvatureError as error:
            return path, str(error)

    @functools.lru_cache(maxsize=4)  # noqa: B019  # one a trial
    def _last_layer(self, trial: int, only: tuple[str, ...]) -> SmoothLoss | str:
        """The constants of the training loss in the last layer, if that is all that is trained."""
        if len(only) != 1:
            return f"{len(only)} layers are trained, and not all: the curvature of their loss is not looked for"
        try:
            return last_layer_loss(self._reference(trial)[0], self.data.train, _module_of(only[0]))
        except CurvatureError as error:
            return str(error)


class _BestEpoch:
    """Keeps the tensors of the epoch of highest held-out accuracy, the first of equals."""

    def __init__(self, model: nn.Module, data: Split) -> None:
        self._model = model
        self._data = data
        self._accuracy = -1.0
        self.state: dict[str, torch.Tensor] = {}

    def __call__(self, epoch: int) -> None:
        accuracy = evaluate(self._model, self._data.test).values["accuracy"]
        if accuracy > self._accuracy:
            self._accuracy = accuracy
            self.state = copy.deepcopy(self._model.state_dict())


def _trained(model: nn.Module, only: Sequence[str] | None) -> list[str]:
    """Names of the tensors to follow: all that modules hold of which alone are trained, or everything that counts."""
    if only is None:
        return tensors_of_function(model)
    modules = set(map(_module_of, only))
    return [name for name in open_weights(model) if _module_of(name) in modules]


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _require_accuracy(reference: Reference, trial: int, minimum: float) -> None:
    accuracy = reference.performance["test"].values["accuracy"]
    if not accuracy >= minimum:
        raise StudyError(
            f"the dense network of trial {trial} has {100 * accuracy:.1f} % accuracy on held-out data, below the "
            f"{100 * minimum:g} % that the study requires; train longer, or lower minimum_accuracy"
        )


def require_zeros(model: nn.Module, mask: Mask, name: str) -> None:
    """Check that a network has exactly the zeros of its mask: the removed weights, and no others in those layers.

    Args:
        model: The network after training.
        mask: The mask that was to be held.
        name: What the network is, for the message.

    Raises:
        StudyError: If a removed weight is not zero, or a kept one is.
    """
    drift = mask_drift(model, mask)
    if drift.drifted:
        raise StudyError(f"{name}: {drift.message()}")
    weights = compressible(model)
    zeros = sum(int((weights[layer] == 0).sum()) for layer in mask)
    if zeros != drift.removed:
        raise StudyError(f"{name}: {zeros} weights are zero, but the mask removes {drift.removed}; has training died?")
