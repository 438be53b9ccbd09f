"""Data that are read again for every product: placed where the network is, never held beyond one batch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from shrinkscope.errors import CurvatureError
from shrinkscope.performance.data import Batch, Data, batches

_TOLERANCE = 1e-6  # relative, of sums in another order; an augmented batch differs by far more


class Samples(ABC):
    """Batches of (inputs, targets) on the network's device and of its floating type, the same on every pass.

    Args:
        device: Where the network is.
        dtype: Its floating type, which floating inputs and targets take.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    def __iter__(self) -> Iterator[Batch]:
        """Batches of at least one sample."""
        for inputs, targets in self.read():
            yield self._placed(inputs), self._placed(targets)

    @abstractmethod
    def read(self) -> Iterator[Batch]:
        """The batches as they were given."""

    @abstractmethod
    def parts(self, number: int, generator: torch.Generator) -> list["Samples"]:
        """Disjoint parts that together are all samples.

        Args:
            number: How many, at least 2.
            generator: Source of the random assignment.

        Raises:
            CurvatureError: If there are too few samples or batches.
        """

    def _placed(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.detach().to(device=self.device, dtype=dtype)


class HeldSamples(Samples):
    """Samples of two tensors; a part is a set of rows, copied a batch at a time.

    Args:
        inputs, targets: The tensors.
        batch_size: Samples a batch.
        device, dtype: As for ``Samples``.
        rows: Which samples; all when None.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype,
        rows: Tensor | None = None,
    ) -> None:
        super().__init__(device, dtype)
        self.inputs, self.targets, self.batch_size, self.rows = inputs, targets, batch_size, rows

    def read(self) -> Iterator[Batch]:
        """The batches as they were given."""
        if self.rows is None:
            yield from batches((self.inputs, self.targets), self.batch_size)
        else:
            for rows in self.rows.split(self.batch_size):
                yield self.inputs[rows.to(self.inputs.device)], self.targets[rows.to(self.targets.device)]

    def parts(self, number: int, generator: torch.Generator) -> list[Samples]:
        """Rows dealt out at random, so that an order in the data (by class, say) cannot make the parts alike."""
        rows = torch.arange(len(self.inputs)) if self.rows is None else self.rows
        _check_enough(len(rows), "samples", number)
        shuffled = rows[torch.randperm(len(rows), generator=generator, device=generator.device).to("cpu")]
        arguments = (self.inputs, self.targets, self.batch_size, self.device, self.dtype)
        return [HeldSamples(*arguments, rows=shuffled[part::number]) for part in range(number)]


class StreamedSamples(Samples):
    """Samples of an iterable that can be read again, for example a DataLoader; a part is every so-many-th batch.

    Args:
        data: The iterable.
        device, dtype: As for ``Samples``.
        part, number: Which part of how many; (0, 1) is everything.
        seen: What the batches looked like on the first pass; filled by it.
    """

    def __init__(
        self,
        data: Data,
        device: torch.device,
        dtype: torch.dtype,
        part: int = 0,
        number: int = 1,
        seen: list[float] | None = None,
    ) -> None:
        super().__init__(device, dtype)
        self.data, self.part, self.number = data, part, number
        self.seen: list[float] = [] if seen is None else seen

    def read(self) -> Iterator[Batch]:
        """The batches as they were given.

        Raises:
            CurvatureError: If they differ from those of the first pass.
        """
        marks: list[float] = []
        for position, batch in enumerate(batches(self.data, batch_size=1)):
            marks.append(_mark(batch))
            if self.number > 1:
                self._check_same(position, marks[-1])
            if position % self.number == self.part:
                yield batch
        if not self.seen:
            self.seen.extend(marks)
        elif not math.isclose(math.fsum(marks), math.fsum(self.seen), rel_tol=_TOLERANCE):
            raise CurvatureError(
                "the data differ between two passes, so that there is no one curvature; switch augmentation and "
                "drop_last off"
            )

    def parts(self, number: int, generator: torch.Generator) -> list[Samples]:
        """Every so-many-th batch: in its order, because a stream cannot be indexed."""
        if self.number > 1:
            raise CurvatureError("a part of a stream cannot be divided again; give tensors instead of an iterable")
        _check_enough(len(self.seen), "batches", number)
        return [StreamedSamples(self.data, self.device, self.dtype, part, number, self.seen) for part in range(number)]

    def _check_same(self, position: int, mark: float) -> None:
        expected = self.seen[position] if position < len(self.seen) else math.nan
        if not math.isclose(mark, expected, rel_tol=_TOLERANCE):
            raise CurvatureError(
                f"batch {position + 1} differs between two passes, so that the data have no fixed parts; use "
                "shuffle=False, give tensors, or set resamples=0"
            )


def samples_of(data: Data, batch_size: int, device: torch.device, dtype: torch.dtype) -> Samples:
    """The data as samples that can be read again.

    Args:
        data: A pair of tensors (inputs, targets), or an iterable of batches that starts anew each time it is read.
        batch_size: Samples a batch when ``data`` are tensors, at least 1.
        device: Where the network is.
        dtype: Its floating type.

    Returns:
        The samples; nothing is copied.

    Raises:
        CurvatureError: If the data are an iterator, which one pass would exhaust.
        DataError: If batch_size is not positive, or the two tensors are not a pair.
    """
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(item, Tensor) for item in data):
        inputs, targets = data
        next(batches(data, batch_size))  # the checks of a pair of tensors
        return HeldSamples(inputs, targets, batch_size, device, dtype)  # type: ignore[arg-type]
    if isinstance(data, Iterator):
        raise CurvatureError(
            f"data is a {type(data).__name__} that is exhausted after one pass, and curvature takes many; give "
            "tensors, a list of batches or a DataLoader"
        )
    return StreamedSamples(data, device, dtype)


def check_resamples(resamples: int) -> None:
    """Refuse a number of resamples that has no standard deviation.

    Args:
        resamples: 0, or at least 2.

    Raises:
        CurvatureError: If it is neither.
    """
    if resamples < 0 or resamples == 1:
        raise CurvatureError(f"resamples = {resamples}; expected at least 2, or 0 for no standard error")


def _mark(batch: Batch) -> float:
    """A number that tells batches apart, flipped images too, and adds up over samples in any order."""
    total = 0.0
    for tensor in batch:
        rows = tensor.detach().reshape(len(tensor), -1).to("cpu", torch.float64).abs()
        total += float((rows @ torch.linspace(1, 2, rows.shape[1], dtype=torch.float64)).sum())
    return total


def _check_enough(available: int, what: str, number: int) -> None:
    if available < number:
        raise CurvatureError(
            f"{available} {what} cannot make {number} resamples; give more data, smaller batches or fewer resamples "
            "(0 for no standard error)"
        )
