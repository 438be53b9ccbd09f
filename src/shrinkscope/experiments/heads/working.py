"""The files of a training of heads: weights and records of each epoch, so that a killed one goes on with the next."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import torch
from safetensors import safe_open
from torch import Tensor

from shrinkscope.experiments.fixed_statistics import State
from shrinkscope.experiments.heads.bank import Bank
from shrinkscope.experiments.records import Record
from shrinkscope.files import write_text
from shrinkscope.weights import save_tensors

Rows = list[list[list[Record]]]
"""Records by group, head, and in their order."""


class Working:
    """A folder in which heads are trained.

    Args:
        folder: The folder; created when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, epoch: int, bank: Bank, rows: Rows) -> None:
        """Keep the heads after an epoch, 0 before the first, and their records; the weights come last and are the mark.

        Args:
            epoch: The epoch.
            bank: The heads.
            rows: Their records of this epoch.

        Raises:
            OutputError: If a file cannot be written.
        """
        velocities = {str(place): velocity for place, velocity in enumerate(bank.velocities)}
        save_tensors(self._path("velocity", epoch), velocities)
        write_text(self._path("records", epoch), msgspec.json.encode(rows).decode())
        weights = {f"weight.{group}": bank.weight(group) for group in range(bank.groups)}
        biases = {f"bias.{group}": bank.bias(group) for group in range(bank.groups)}
        save_tensors(
            self._path("epoch", epoch), weights | {name: bias for name, bias in biases.items() if bias is not None}
        )
        if epoch:
            self._path("velocity", epoch - 1).unlink(missing_ok=True)

    def done(self) -> int:
        """Epochs that are finished; −1 if not even the heads before training are kept."""
        epoch = -1
        while self._path("epoch", epoch + 1).is_file():
            epoch += 1
        return epoch

    def state(self, groups: int) -> list[Tensor]:
        """Parameters and velocities after the last finished epoch, as a bank has them.

        Args:
            groups: Number of groups.
        """
        epoch = self.done()
        with safe_open(self._path("epoch", epoch), "pt") as file:
            names = set(file.keys())
            parameters = [
                torch.stack([file.get_tensor(f"{kind}.{group}").flatten(0, 1) for group in range(groups)])
                for kind in ("weight", "bias")
                if f"{kind}.0" in names
            ]
        with safe_open(self._path("velocity", epoch), "pt") as file:
            return parameters + [file.get_tensor(str(place)) for place in range(len(parameters))]

    def records(self, group: int, place: int) -> Iterator[Record]:
        """The records of one head, epoch by epoch.

        Args:
            group: Its group.
            place: Its place within the group.
        """
        for epoch in range(self.done() + 1):
            rows = msgspec.json.decode(self._path("records", epoch).read_bytes(), type=Rows)
            yield from rows[group][place]

    def weights(self, epoch: int, group: int, place: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of one head after an epoch.

        Args:
            epoch: The epoch, 0 before the first.
            group: Its group.
            place: Its place within the group.
        """
        with safe_open(self._path("epoch", epoch), "pt") as file:
            biased = f"bias.{group}" in file.keys()  # noqa: SIM118  # no mapping
            weight = file.get_slice(f"weight.{group}")[place]
            return weight, file.get_slice(f"bias.{group}")[place] if biased else None

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, kind: str, epoch: int) -> Path:
        return self.folder / f"{kind}-{epoch:04}.{'json' if kind == 'records' else 'safetensors'}"


class HeadPath(Sequence[State]):
    """The tensors of one head after each epoch, by their names in the network.

    Args:
        working: Where they are.
        group: Group of the head.
        place: Its place within the group.
        head: Name of the layer.
    """

    def __init__(self, working: Working, group: int, place: int, head: str) -> None:
        self._working, self._group, self._place, self._head = working, group, place, head
        self._count = working.done() + 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> State:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The tensors of one time; negative indices count from the last."""
        weight, bias = self._working.weights(range(self._count)[index], self._group, self._place)
        found = {f"{self._head}.weight": weight}
        return found if bias is None else found | {f"{self._head}.bias": bias}
