"""How one cell of the paper's experiment is carried out."""

import copy
import functools
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from shrinkscope.errors import CurvatureError
from shrinkscope.experiments import distributed
from shrinkscope.experiments.best_epoch import BestEpoch
from shrinkscope.experiments.checkpoint import Companion
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.data import ImageData, Part, open_images
from shrinkscope.experiments.digits import Digits, Split, load_digits_split
from shrinkscope.experiments.fixed_statistics import FixedStatistics, State, tensors_of_function
from shrinkscope.experiments.iteration_bounds import SmoothLoss, last_layer_loss, path_loss
from shrinkscope.experiments.iterations import iteration_records
from shrinkscope.experiments.ledger import Ledger
from shrinkscope.experiments.measure import Reference, dense_records, epoch_records, require_accuracy
from shrinkscope.experiments.networks import load_network_file, save_network, starting_network
from shrinkscope.experiments.predictive import network_record
from shrinkscope.experiments.prunings import prune_cell, require_zeros
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.released import released_records
from shrinkscope.experiments.samples import fewer
from shrinkscope.experiments.seeds import derived_generator, derived_seed
from shrinkscope.experiments.settings import USUAL, Extraction, StudyError
from shrinkscope.experiments.snapshots import Snapshots
from shrinkscope.experiments.stage import OnStage, telling
from shrinkscope.experiments.train import train
from shrinkscope.weights import compressible, open_weights

__all__ = ["Bench", "StudyError", "require_zeros"]


class Bench:
    """What the cells of one study share in one process: the data and the dense networks.

    Args:
        study: The study.
        folder: Folder of its networks.
        device: ``cpu`` or ``cuda``.
        extraction: How features are computed, where they are.
    """

    def __init__(self, study: Study, folder: Path, device: str = "cpu", extraction: Extraction = USUAL) -> None:
        self.study = study
        self.folder = folder
        self.device = device
        self.extraction = extraction

    @functools.cached_property
    def data(self) -> Split | ImageData:
        """The data set, its inputs on the device."""
        if isinstance(self.study.data, Digits):
            return Split(*(part.to(self.device) for part in load_digits_split(self.study.data)))
        return open_images(self.study.data, self.device)

    @functools.cached_property
    def measured(self) -> Split | ImageData:
        """The data that performance is measured on: all held-out samples, and the study's choice of the others."""
        return fewer(self.data, self.study.evaluated_samples)

    @functools.cached_property
    def unlabelled(self) -> tuple[Tensor, Tensor] | Part | None:
        """Training samples that predictions are compared on, their targets not looked at; None: the study has none."""
        samples = self.study.predictive_samples
        return fewer(self.data, samples).train if samples else None

    @property
    def classes(self) -> int | None:
        """Number of classes of a data set of images; None: as the network has it."""
        return len(self.data.classes) if isinstance(self.data, ImageData) else None

    def network_path(self, cell: Cell) -> Path:
        """Where the network of a cell is kept.

        Args:
            cell: The cell.

        Returns:
            A .safetensors file.
        """
        name = "dense" if cell.dense else f"{cell.scope}-{cell.method}-{cell.level:g}"
        return self.folder / f"trial-{cell.trial}" / f"{name}.safetensors"

    def carry_out(self, cell: Cell, ledger: Ledger | None = None, progress: OnStage | None = None) -> list[Record]:
        """Train, or prune and fine-tune; write the network and return the numbers.

        Args:
            cell: What to do; the dense cell of its trial must have been carried out.
            ledger: Where epochs are kept, so that a cell that was killed goes on; None keeps none.
            progress: Called after each epoch.

        Returns:
            Its records, the same whichever cells came before, and however often it was killed.

        Raises:
            StudyError: If a dense network misses the required accuracy, or a pruned one has not as many zeros as its
                mask removes.
            DataError: If the data cannot be read, or are not what the network takes.
            OutputError: If the network cannot be written.
            WeightsError: If the dense network cannot be read, or the weights to start from do not fit.
        """
        work = self._train_dense if cell.dense else self._compress
        model, records = work(cell, ledger, progress)
        if distributed.rank() == 0:
            save_network(self.network_path(cell), model, f"{self.study.name}: {cell}")
            self._kept(cell).unlink(missing_ok=True)
        distributed.wait()
        return records

    def starting(self, trial: int) -> nn.Module:
        """The network of a trial before its training: initialised, or filled with weights, on the device.

        Args:
            trial: Its number.
        """
        study = self.study
        return starting_network(
            study.network,
            derived_seed(study.seed, "initialisation", trial),
            self.classes,
            weights=study.weights,
            keep_head=study.head == "keep",
        ).to(self.device)

    def dense(self, trial: int) -> nn.Module:
        """The dense network of a trial, a copy of one's own on the device.

        Args:
            trial: Its number.
        """
        return copy.deepcopy(self._dense(trial)[0])

    def reference(self, trial: int) -> Reference:
        """The dense network of a trial as others are compared with it.

        Args:
            trial: Its number.
        """
        return self._dense(trial)[1]

    def _train_dense(
        self, cell: Cell, ledger: Ledger | None, progress: OnStage | None
    ) -> tuple[nn.Module, list[Record]]:
        study, trial = self.study, cell.trial
        model = self.starting(trial)
        if study.training is not None:
            best = BestEpoch(model, self.data) if study.dense_reference == "best" else None
            order = derived_generator(study.seed, "training order", trial)
            kept: dict[str, Companion] = {"best": best} if best else {}
            train(
                model,
                self.data.train,
                study.training,
                order,
                only=self._last(model) if study.trained == "last" else None,
                computation=study.computation,
                checkpoint=ledger.checkpoint(self._kept(cell), [], kept) if ledger else None,
                after_epoch=telling(best, study.training.epochs, progress),
            )
            if best is not None and distributed.rank() == 0:
                model.load_state_dict(best.state)
        if distributed.rank() > 0:
            return model, []
        reference = Reference.of(model, self.measured)
        require_accuracy(reference, trial, study.minimum_accuracy)
        return model, dense_records(reference)

    def _compress(self, cell: Cell, ledger: Ledger | None, progress: OnStage | None) -> tuple[nn.Module, list[Record]]:
        study = self.study
        model = self.dense(cell.trial)
        mask = prune_cell(study, model, cell)
        # The order of the samples is the trial's alone, so that cells differ in what was removed and nothing else.
        order = derived_generator(study.seed, "fine-tuning order", cell.trial)
        head = tuple(mask) if cell.scope == "last" and study.finetune != "network" else None
        only = head if study.finetune == "scope" else None
        records: list[Record] = []
        with Snapshots(_trained(model, only), self.network_path(cell).parent) as path:
            companions: dict[str, Companion] = {"path": path} if study.iterations else {}
            checkpoint = ledger.checkpoint(self._kept(cell), records, companions) if ledger else None

            def record(epoch: int) -> None:
                records.extend(self._measure(cell.trial, model, epoch))
                if study.iterations:
                    path.keep(model)

            if not records and distributed.rank() == 0:
                record(0)
            train(
                model,
                self.data.train,
                study.finetuning,
                order,
                mask=mask,
                only=head,
                biases=study.finetune == "biases",
                computation=study.computation,
                checkpoint=checkpoint,
                after_epoch=telling(record, study.finetuning.epochs, progress),
            )
            require_zeros(model, mask, str(cell))
            if study.iterations and distributed.rank() == 0:
                followed, loss = self._followed(cell.trial, path, only)
                records += iteration_records(self.reference(cell.trial).weights, followed, records, study.latents, loss)
        return model, records

    def _measure(self, trial: int, model: nn.Module, epoch: int) -> list[Record]:
        reference, study = self.reference(trial), self.study
        records = epoch_records(reference, model, self.measured, study.latents, epoch)
        if self.unlabelled is not None:
            records.append(network_record(self._dense(trial)[0], model, self.unlabelled, epoch))
        return records + released_records(records, reference.weights) if study.released_gaussian else records

    def _kept(self, cell: Cell) -> Path:
        """The checkpoint of a cell."""
        return self.network_path(cell).with_suffix(".checkpoint.safetensors")

    def _last(self, model: nn.Module) -> tuple[str, ...]:
        return (list(compressible(model))[-1],)

    # Bounded, because a large network's reference is as large as the network.
    @functools.lru_cache(maxsize=4)  # noqa: B019  # a bench lives as long as its process
    def _dense(self, trial: int) -> tuple[nn.Module, Reference]:
        path = self.network_path(Cell(trial=trial))
        dense = load_network_file(path, self.study.network, self.classes).to(self.device)
        return dense, Reference.of(dense, self.measured)

    def _followed(
        self, trial: int, path: Snapshots, only: tuple[str, ...] | None
    ) -> tuple[Sequence[State], SmoothLoss | str]:
        """The path as one of parameters, and the constants of the training loss along it or why there are none."""
        if only is not None:
            return path, self._last_layer(trial, only)
        dense = self._dense(trial)[0]
        try:
            fixed = FixedStatistics(dense, path)
            if not self.study.curvature_samples:
                return fixed, "curvature_samples = 0: where all layers are trained, the curvature is not looked for"
            if isinstance(self.data, ImageData):
                return fixed, "where all layers are trained on images, the curvature is not looked for"
            return fixed, path_loss(dense, self.data.train, (fixed[0], fixed[-1]), self.study.curvature_samples)
        except CurvatureError as error:
            return path, str(error)

    @functools.lru_cache(maxsize=4)  # noqa: B019  # one a trial
    def _last_layer(self, trial: int, only: tuple[str, ...]) -> SmoothLoss | str:
        """The constants of the training loss in the last layer, if that is all that is trained."""
        if len(only) != 1:
            return f"{len(only)} layers are trained, and not all: the curvature of their loss is not looked for"
        try:
            return last_layer_loss(self._dense(trial)[0], self.data.train, _module_of(only[0]))
        except CurvatureError as error:
            return str(error)


def _trained(model: nn.Module, only: Sequence[str] | None) -> list[str]:
    """Names of the tensors to follow: all that modules hold of which alone are trained, or everything that counts."""
    if only is None:
        return tensors_of_function(model)
    modules = set(map(_module_of, only))
    return [name for name in open_weights(model) if _module_of(name) in modules]


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]
