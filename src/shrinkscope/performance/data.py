"""Evaluation data: tensors, or any iterable of batches, read as a stream of checked batches."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from shrinkscope.errors import DataError

Batch = tuple[Tensor, Tensor]
Data = tuple[Tensor, Tensor] | Iterable[Batch] | Iterable[list[Tensor]]
Inputs = Tensor | Iterable[Tensor] | Data


def batches(data: object, batch_size: int) -> Iterator[Batch]:
    """Iterate once over ``data`` as (inputs, targets) batches, each checked before it is handed on.

    Args:
        data: A pair of tensors (inputs, targets) whose first dimension counts samples, or an iterable of such
            pairs, for example a DataLoader. A one-shot generator is consumed.
        batch_size: Samples a batch when ``data`` is a pair of tensors; batches of an iterable stay as they
            are.

    Yields:
        Batches of at least one sample.

    Raises:
        DataError: If there is no sample, a batch is not a pair of tensors, or its tensors differ in length.
    """
    if batch_size < 1:
        raise DataError(f"batch_size = {batch_size}, expected at least 1")
    if _is_one_pair(data):
        yield from _split(_checked(data, "data"), batch_size)
    else:
        yield from _stream(data)


def input_batches(inputs: object, batch_size: int) -> Iterator[Tensor]:
    """Iterate once over unlabelled inputs as batches, each checked before it is handed on.

    Args:
        inputs: A tensor whose first dimension counts inputs; an iterable of such tensors, or of tuples and lists that
            begin with one (a DataLoader over a dataset with or without targets); or a pair (inputs, targets).
            Targets are not looked at.
        batch_size: Inputs a batch when ``inputs`` is one tensor or one pair.

    Yields:
        Batches of at least one input.

    Raises:
        DataError: If there is no input, or a batch is not a tensor and does not begin with one.
    """
    if batch_size < 1:
        raise DataError(f"batch_size = {batch_size}, expected at least 1")
    if isinstance(inputs, (str, bytes, dict)) or not isinstance(inputs, Iterable):
        raise DataError(f"inputs is {_described(inputs)}; expected a tensor or an iterable of batches")
    if isinstance(inputs, (tuple, list)) and _is_one_pair(inputs):
        inputs = _first_of_pair(inputs)
    one = isinstance(inputs, Tensor)
    found = False
    for number, item in enumerate([inputs] if one else inputs, start=1):
        batch = item[0] if isinstance(item, (tuple, list)) and item else item
        if not isinstance(batch, Tensor) or batch.ndim == 0:
            raise DataError(f"batch {number} of the inputs is {_described(item)}; expected a tensor of inputs first")
        found |= len(batch) > 0
        yield from (part for part in batch.split(batch_size if one else max(len(batch), 1)) if len(part))
    if not found:
        raise DataError("inputs holds no sample; give at least one (an iterator that was consumed before is empty)")


def _is_one_pair(data: object) -> bool:
    # A list of two batches also has two items, but then its items are pairs; one tensor among them tells the
    # difference.
    return isinstance(data, (tuple, list)) and len(data) == 2 and any(isinstance(item, Tensor) for item in data)


def _first_of_pair(pair: tuple[Any, ...] | list[Any]) -> Tensor:
    first, second = pair
    if not isinstance(first, Tensor):
        raise DataError(f"inputs is a pair that begins with {_described(first)}; expected a tensor of inputs first")
    if isinstance(second, Tensor) and first.ndim > 1 and first.shape[1:] == second.shape[1:]:
        raise DataError(
            f"inputs is a pair of tensors of shapes {tuple(first.shape)} and {tuple(second.shape)}: inputs with "
            "targets, or two batches? Give the inputs alone, or torch.cat of the batches"
        )
    return first


def _split(pair: Batch, batch_size: int) -> Iterator[Batch]:
    inputs, targets = pair
    if len(inputs) == 0:
        raise DataError("data holds no sample; give at least one")
    yield from zip(inputs.split(batch_size), targets.split(batch_size), strict=True)


def _stream(data: object) -> Iterator[Batch]:
    if isinstance(data, (Tensor, str, bytes, dict)) or not isinstance(data, Iterable):
        raise DataError(
            f"data is {_described(data)}; expected a pair of tensors (inputs, targets) or an iterable of such batches; "
            "wrap a Dataset in a DataLoader"
        )
    samples = 0
    for number, item in enumerate(data, start=1):
        batch = _checked(item, f"batch {number}")
        samples += len(batch[0])
        if len(batch[0]):
            yield batch
    if samples == 0:
        raise DataError("data yielded no sample; an iterator that was consumed before is empty, so create it anew")


def _checked(item: object, place: str) -> Batch:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise DataError(f"{place} is {_described(item)}; expected a pair (inputs, targets)")
    inputs, targets = item
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        raise DataError(
            f"{place} is a pair of {_described(inputs)} and {_described(targets)}; expected two tensors "
            "(wrap a Dataset in a DataLoader, convert arrays with torch.as_tensor)"
        )
    if inputs.ndim == 0 or targets.ndim == 0:
        raise DataError(f"{place} holds a tensor without dimensions; expected the first dimension to count samples")
    if len(inputs) != len(targets):
        raise DataError(f"{place} has {len(inputs)} inputs and {len(targets)} targets; expected as many of both")
    return inputs, targets


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"one tensor of shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} items"
    return f"a value of type {type(value).__name__}"
