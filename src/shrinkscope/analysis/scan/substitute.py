"""Another weight in a network for a moment, and a network that is left exactly as it was found."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def substituted(parameter: nn.Parameter, weight: Tensor) -> Iterator[None]:
    """Let a parameter hold another weight; its own storage comes back whatever happens, without being written.

    Args:
        parameter: The parameter; tied places see the change, because they hold the same object.
        weight: The weight, of its shape.

    Yields:
        Nothing.
    """
    own = parameter.data
    # The parameter's memory format, so that the same kernels run as after writing the weight in place.
    other = torch.empty_like(own).copy_(weight)
    try:
        parameter.data = other
        yield
    finally:
        parameter.data = own


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put everything back that forward passes and tracing may change: attributes, parameters' storage, buffers.

    Args:
        model: The network.

    Yields:
        Nothing.
    """
    snapshot = Snapshot(model)
    try:
        yield
    finally:
        snapshot.restore()


class Through(nn.Module):
    """Something to run in the place of a network: it has the network's parameters, which tell device and type.

    Args:
        model: The network.
        run: What takes its place.
    """

    def __init__(self, model: nn.Module, run: Callable[[Tensor], object]) -> None:
        super().__init__()
        self._model, self._run = model, run

    def forward(self, inputs: Tensor) -> object:
        """Whatever takes the network's place."""
        return self._run(inputs)


class Snapshot:
    """The attributes of every module, the storage of every parameter and the values of every buffer.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        # Registries (_parameters, _buffers, hooks …) are dictionaries that are edited in place: their items are kept.
        self._tables = [table for module in model.modules() for table in _tables(module)]
        self._parameters = [(parameter, parameter.data) for parameter in model.parameters()]
        self._buffers = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
        self._buffer_tables = [(module._buffers, dict(module._buffers)) for module in model.modules()]

    @property
    def written(self) -> bool:
        """Whether a buffer was written to, or replaced by another, since."""
        replaced = any(not _same(now, then) for now, then in self._buffer_tables)
        return replaced or any(buffer._version != version for buffer, version, _ in self._buffers)

    def restore(self) -> None:
        """Put everything back."""
        for table, items in self._tables:
            if not _same(table, items):
                table.clear()
                table.update(items)
        for parameter, data in self._parameters:
            if parameter.data_ptr() != data.data_ptr():
                parameter.data = data
        with torch.no_grad():
            for index, (buffer, version, value) in enumerate(self._buffers):
                if buffer._version != version:
                    buffer.copy_(value)
                    self._buffers[index] = (buffer, buffer._version, value)


def _tables(module: nn.Module) -> list[tuple[dict[str, object], dict[str, object]]]:
    attributes = vars(module)
    tables = [attributes, *(value for value in attributes.values() if isinstance(value, dict))]
    return [(table, dict(table)) for table in tables]


def _same(now: Mapping[str, object], then: Mapping[str, object]) -> bool:
    return list(now) == list(then) and all(now[name] is then[name] for name in then)
