"""The state of a training after an epoch, in one file, so that a killed process goes on with the next."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from shrinkscope.weights import save_tensors


class Companion(Protocol):
    """Something else that a training carries from epoch to epoch."""

    def tensors(self) -> dict[str, Tensor]:
        """Its state."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up a state that ``tensors`` gave.

        Args:
            tensors: The state.
        """
        ...


class Checkpoint:
    """Keeps network, velocities, generator and companions after an epoch, all or nothing.

    Args:
        path: A .safetensors file.
        identity: What the training is; a file of another one is not taken up.
        every: Seconds that must have passed since the last one: epochs of milliseconds are not worth a write each.
        companions: What else is kept, by name.
        before: Called before each write; what it writes elsewhere is there whenever the file is.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        *,
        every: float,
        companions: dict[str, Companion] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.path = path
        self._identity = identity
        self._every = every
        self._companions = companions or {}
        self._before = before
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the epoch that ends now is to be kept."""
        return time.monotonic() - self._last >= self._every

    def epoch(self) -> int:
        """Epochs that were finished before; 0 if there is nothing to go on with."""
        try:
            with safe_open(self.path, "pt") as file:
                kept = file.metadata() or {}
        except (OSError, SafetensorError):
            return 0
        return int(kept["epoch"]) if kept.get("identity") == self._identity else 0

    def restore(self, model: nn.Module, velocities: Sequence[Tensor], generator: torch.Generator) -> int:
        """Put everything back as it was after the last epoch that was kept.

        Args:
            model: The network, its mask held if it was.
            velocities: Of the parameters that are trained.
            generator: Of the order.

        Returns:
            Epochs that are done; 0 leaves all as it is.
        """
        done = self.epoch()
        if done:
            with safe_open(self.path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            model.load_state_dict(_inside("model", found))
            for index, velocity in enumerate(velocities):
                velocity.copy_(found[f"velocity.{index}"])
            generator.set_state(found["generator"])
            for name, companion in self._companions.items():
                companion.restore(_inside(name, found))
        return done

    def keep(self, epoch: int, model: nn.Module, velocities: Sequence[Tensor], generator: torch.Generator) -> None:
        """Write the state after an epoch.

        Args:
            epoch: Epochs that are done.
            model: The network.
            velocities: Of the parameters that are trained.
            generator: Of the order.

        Raises:
            OutputError: If the file cannot be written.
        """
        if self._before is not None:
            self._before()
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"velocity.{index}": velocity for index, velocity in enumerate(velocities)}
        tensors["generator"] = generator.get_state()
        for name, companion in self._companions.items():
            tensors |= {f"{name}.{key}": tensor for key, tensor in companion.tensors().items()}
        save_tensors(self.path, tensors, {"epoch": str(epoch), "identity": self._identity})
        self._last = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the training is finished and its result kept."""
        self.path.unlink(missing_ok=True)


def _inside(name: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in found.items() if key.startswith(f"{name}.")}
