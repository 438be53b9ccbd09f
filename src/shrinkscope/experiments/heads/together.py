"""The cells of a study that train the last layer alone, carried out together on features computed once."""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from shrinkscope.compression import Mask
from shrinkscope.experiments.heads.bank import Bank, Head
from shrinkscope.experiments.heads.descent import Group, train_heads
from shrinkscope.experiments.heads.held import held
from shrinkscope.experiments.heads.locate import head_layer
from shrinkscope.experiments.heads.measure import HeadMeasure, head_loss
from shrinkscope.experiments.heads.room import require_room
from shrinkscope.experiments.heads.trial import trial_features
from shrinkscope.experiments.heads.working import HeadPath, Rows, Working
from shrinkscope.experiments.iteration_bounds import SmoothLoss
from shrinkscope.experiments.iterations import iteration_records
from shrinkscope.experiments.measure import dense_records, require_accuracy
from shrinkscope.experiments.networks import load_network_file, save_network
from shrinkscope.experiments.prunings import prune_cell, require_zeros
from shrinkscope.experiments.records import NETWORK, Cell, Record
from shrinkscope.experiments.released import released_records
from shrinkscope.experiments.seeds import derived_generator
from shrinkscope.experiments.settings import Training
from shrinkscope.experiments.stage import OnStage, StageClock
from shrinkscope.experiments.study import Bench

_CHOOSING = "accuracy_test"

OnCell = Callable[[Cell, list[Record]], None]


def carry_out_together(
    bench: Bench,
    cells: Sequence[Cell],
    on_cell: OnCell,
    *,
    features: Path | None = None,
    progress: OnStage | None = None,
) -> None:
    """Carry out cells that go together: all dense, or all pruned; the dense cells of pruned ones must be done.

    After each epoch everything is kept, so that a killed process goes on with the next one to the same numbers.

    Args:
        bench: The study.
        cells: The cells.
        on_cell: Called with each cell and its records when its network is written; what it does is done before the
            files of the training are removed.
        features: Where features are kept; by default beside the folder of the networks, for all runs.
        progress: Called after each block of an extraction, and after each epoch.

    Raises:
        StudyError: If a dense network misses the required accuracy, a pruned one has other zeros than its mask, the
            heads do not fit into memory, or another process is training some of the cells.
        FeaturesError: If the network does not end in a linear layer.
        OutputError: If a file cannot be written, or the disk has no room for the features.
        DataError: If the data cannot be read.
        WeightsError: If a network cannot be read.
    """
    place = bench.folder.parent / "features" if features is None else features

    def finished(cell: Cell) -> bool:
        return bench.network_path(cell).is_file()

    for dense in (True, False):
        wanted = [cell for cell in cells if cell.dense == dense]
        if wanted:
            kind = _Dense if dense else _Pruned
            with held(bench.folder, kind.name, wanted, finished) as (working, everything):
                for number, bucket in enumerate(_buckets(everything)):
                    own = Working(working.folder / str(number))
                    kind(bench, bucket, own, place, progress).carry_out(set(wanted), on_cell)


def _buckets(cells: Sequence[Cell]) -> list[dict[int, list[Cell]]]:
    """Cells by trial, and trials with as many cells together: they make one batched product."""
    trials: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        trials[cell.trial].append(cell)
    found: dict[int, dict[int, list[Cell]]] = defaultdict(dict)
    for trial, own in sorted(trials.items()):
        found[len(own)][trial] = own
    return list(found.values())


class _Together:
    """Some cells of one kind: as many of each trial."""

    name, purpose = "", ""

    def __init__(
        self,
        bench: Bench,
        cells: dict[int, list[Cell]],
        working: Working,
        folder: Path,
        progress: OnStage | None,
    ) -> None:
        self.bench, self.study, self.cells, self.working = bench, bench.study, cells, working
        self.progress = progress
        self.models = {trial: self.model(trial) for trial in cells}
        heads = len(next(iter(cells.values())))
        require_room(bench, list(self.models.values()), heads, self.settings(), folder)
        self.features = {t: trial_features(bench, model, folder, progress) for t, model in self.models.items()}

    def model(self, trial: int) -> nn.Module:
        """The network of a trial before its head is trained."""
        raise NotImplementedError

    def settings(self) -> Training | None:
        """How heads are trained; None: not at all."""
        raise NotImplementedError

    def heads(self, trial: int) -> list[Head]:
        """The heads of a trial before training, in the order of its cells."""
        raise NotImplementedError

    def rows(self, trial: int, group: int, bank: Bank, epoch: int) -> list[list[Record]]:
        """The records of a trial's heads at one epoch."""
        raise NotImplementedError

    def finish(self, cell: Cell, group: int, place: int) -> tuple[nn.Module, list[Record]]:
        """The network of a cell and its records."""
        raise NotImplementedError

    def carry_out(self, wanted: set[Cell], on_cell: OnCell) -> None:
        """Train, write the networks, and pass on the records of the cells that are wanted."""
        self._train()
        for group, own in enumerate(self.cells.values()):
            for place, cell in enumerate(own):
                if cell in wanted:
                    model, records = self.finish(cell, group, place)
                    save_network(self.bench.network_path(cell), model, f"{self.study.name}: {cell}")
                    on_cell(cell, records)

    def with_head(self, trial: int, epoch: int, group: int, place: int) -> nn.Module:
        """A trial's network with one of the heads."""
        # A copy: what heads are compared with stays as it is.
        model = copy.deepcopy(self.models[trial])
        layer = head_layer(model, self.features[trial].head)
        weight, bias = self.working.weights(epoch, group, place)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(bias)
        return model

    def _train(self) -> None:
        settings = self.settings()
        groups = [self._group(trial) for trial in self.cells]
        idle = settings or Training(epochs=1)
        if self.working.done() < 0:
            self._keep(0, Bank([group.heads for group in groups], idle, self.bench.device))
        done = self.working.done()
        if settings is not None and done < settings.epochs:
            state = self.working.state(len(groups))
            heads = sum(len(group.heads) for group in groups)
            clock = StageClock(f"epochs of {heads} last layers", done, settings.epochs, self.progress)

            def keep(epoch: int, bank: Bank) -> None:
                self._keep(epoch, bank)
                clock.tell(epoch)

            train_heads(groups, settings, after_epoch=keep, device=self.bench.device, done=done, state=state)

    def _group(self, trial: int) -> Group:
        own = self.features[trial]
        order = derived_generator(self.study.seed, self.purpose, trial)
        return Group(heads=self.heads(trial), views=own.views, targets=own.plain.targets, order=order)

    def _keep(self, epoch: int, bank: Bank) -> None:
        rows: Rows = [self.rows(trial, group, bank, epoch) for group, trial in enumerate(self.cells)]
        self.working.keep(epoch, bank, rows)


class _Dense(_Together):
    """Dense networks, of which the last layer alone is trained, or nothing."""

    name, purpose = "dense", "training order"

    def model(self, trial: int) -> nn.Module:
        return self.bench.starting(trial)

    def settings(self) -> Training | None:
        return self.study.training

    def heads(self, trial: int) -> list[Head]:
        layer = head_layer(self.models[trial], self.features[trial].head)
        return [Head(weight=layer.weight.detach().clone(), bias=None if layer.bias is None else layer.bias.detach())]

    def rows(self, trial: int, group: int, bank: Bank, epoch: int) -> list[list[Record]]:
        (found,) = self.features[trial].measured["test"].evaluate(bank.weight(group), bank.bias(group))
        value = found.values["accuracy"]
        return [[Record(epoch=epoch, layer=NETWORK, metric=_CHOOSING, value=value, unit="fraction", status="estimate")]]

    def finish(self, cell: Cell, group: int, place: int) -> tuple[nn.Module, list[Record]]:
        model = self.with_head(cell.trial, self._chosen(group, place), group, place)
        own = self.features[cell.trial]
        reference = HeadMeasure(model, own.head, own.measured, self.study.latents).reference
        require_accuracy(reference, cell.trial, self.study.minimum_accuracy)
        return model, dense_records(reference)

    def _chosen(self, group: int, place: int) -> int:
        last = self.working.done()
        if self.study.dense_reference == "last" or last == 0:
            return last
        # The first of equals; before training is no epoch.
        accuracies = {record.epoch: record.value or 0.0 for record in self.working.records(group, place)}
        return max(range(1, last + 1), key=lambda epoch: accuracies[epoch])


class _Pruned(_Together):
    """Prunings of dense networks in the last layer, with their fine-tuning."""

    name, purpose = "pruned", "fine-tuning order"

    def __init__(
        self,
        bench: Bench,
        cells: dict[int, list[Cell]],
        working: Working,
        folder: Path,
        progress: OnStage | None,
    ) -> None:
        super().__init__(bench, cells, working, folder, progress)
        self.masks: dict[Cell, Mask] = {}
        self.measures = {trial: self._measure(trial) for trial in cells}
        self.losses = {trial: self._loss(trial) for trial in cells} if self.study.iterations else {}

    def model(self, trial: int) -> nn.Module:
        # Not the bench's: it would measure the network, which features do in less time.
        path = self.bench.network_path(Cell(trial=trial))
        return load_network_file(path, self.study.network, self.bench.classes).to(self.bench.device)

    def settings(self) -> Training | None:
        return self.study.finetuning

    def heads(self, trial: int) -> list[Head]:
        return [self._head(cell) for cell in self.cells[trial]]

    def rows(self, trial: int, group: int, bank: Bank, epoch: int) -> list[list[Record]]:
        measure = self.measures[trial]
        found = measure.records(bank.weight(group), bank.bias(group), epoch)
        if self.study.released_gaussian:
            return [records + released_records(records, measure.reference.weights) for records in found]
        return found

    def finish(self, cell: Cell, group: int, place: int) -> tuple[nn.Module, list[Record]]:
        records = list(self.working.records(group, place))
        trial = cell.trial
        model = self.with_head(trial, self.working.done(), group, place)
        require_zeros(model, self.masks[cell], str(cell))
        if self.study.iterations:
            path = HeadPath(self.working, group, place, self.features[trial].head)
            dense = self.measures[trial].reference.weights
            records += iteration_records(dense, path, records, self.study.latents, self.losses[trial])
        return model, records

    def _head(self, cell: Cell) -> Head:
        model = self.models[cell.trial]
        layer = head_layer(model, self.features[cell.trial].head)
        before = layer.weight.detach().clone()
        mask = self.masks[cell] = prune_cell(self.study, model, cell)
        weight = layer.weight.detach().clone()
        # The only layer that a cell of scope "last" touches, so that one network serves all of them.
        with torch.no_grad():
            layer.weight.copy_(before)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        return Head(weight=weight, bias=bias, kept=mask[f"{self.features[cell.trial].head}.weight"])

    def _measure(self, trial: int) -> HeadMeasure:
        own = self.features[trial]
        return HeadMeasure(self.models[trial], own.head, own.measured, self.study.latents, own.unlabelled)

    def _loss(self, trial: int) -> SmoothLoss | str:
        own = self.features[trial]
        return head_loss(head_layer(self.models[trial], own.head), own.head, own.plain)
