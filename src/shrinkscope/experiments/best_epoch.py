"""The best of the epochs of a training, by accuracy on held-out data."""

import copy

import torch
from torch import nn

from shrinkscope.experiments.data import ImageData
from shrinkscope.experiments.digits import Split
from shrinkscope.performance import evaluate


class BestEpoch:
    """Keeps the tensors of the epoch of highest held-out accuracy, the first of equals.

    Args:
        model: The network that is trained.
        data: Its data.
    """

    def __init__(self, model: nn.Module, data: Split | ImageData) -> None:
        self._model = model
        self._data = data
        self._accuracy = -1.0
        self.state: dict[str, torch.Tensor] = {}

    def __call__(self, epoch: int) -> None:
        """Look at the network after an epoch.

        Args:
            epoch: Its number.
        """
        accuracy = evaluate(self._model, self._data.test).values["accuracy"]
        if accuracy > self._accuracy:
            self._accuracy = accuracy
            self.state = copy.deepcopy(dict(self._model.state_dict()))

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        return {"accuracy": torch.tensor(self._accuracy, dtype=torch.float64)} | {
            f"state.{name}": tensor for name, tensor in self.state.items()
        }

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """From a checkpoint.

        Args:
            tensors: What ``tensors`` gave.
        """
        self._accuracy = float(tensors["accuracy"])
        self.state = {name.removeprefix("state."): found for name, found in tensors.items() if name != "accuracy"}
