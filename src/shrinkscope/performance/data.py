"""Evaluation data: two tensors, or any iterable of batches, read as a stream of checked batches."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from shrinkscope.errors import DataError

Batch = tuple[Tensor, Tensor]
Data = tuple[Tensor, Tensor] | Iterable[Batch] | Iterable[list[Tensor]]


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


def _is_one_pair(data: object) -> bool:
    # A list of two batches also has two items, but then its items are pairs; one tensor among them tells the
    # difference.
    return isinstance(data, (tuple, list)) and len(data) == 2 and any(isinstance(item, Tensor) for item in data)


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
