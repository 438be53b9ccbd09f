"""Training and held-out images as streams of batches, decoded ahead in threads, whose memory is bounded."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import numpy as np
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.experiments.data.settings import Transform
from shrinkscope.experiments.data.sources import Source, digest_of
from shrinkscope.experiments.data.transform import augmented_image, drawing, normalised, plain_image

Batch = tuple[Tensor, Tensor]

_EVALUATED = 256
_SAMPLING_SEED = 0


class Part:
    """Some images of a source; iterating gives all in order as they are evaluated, without augmentation.

    Args:
        source: The images.
        transform: How they become inputs.
        indices: Which of them, in order; all by default.
        device: Where inputs are put before they are normalised.
    """

    def __init__(
        self, source: Source, transform: Transform, indices: Tensor | None = None, device: str = "cpu"
    ) -> None:
        self._source = source
        self.transform = transform
        self._indices = torch.arange(len(source.targets)) if indices is None else indices
        self._device = torch.device(device)

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def targets(self) -> Tensor:
        """Class indices in order, int64, on the CPU."""
        return self._source.targets[self._indices]

    @property
    def digest(self) -> str:
        """Digest of the images and of which they are, 32 hexadecimal digits; the transform is no part of it."""
        return digest_of([self._source.digest.encode(), self._indices.numpy().data])

    def __iter__(self) -> Iterator[Batch]:
        """Batches of all images in order, as they are evaluated."""
        return self.in_batches(_EVALUATED)

    def in_batches(self, batch_size: int) -> Iterator[Batch]:
        """All images in order, as they are evaluated.

        Args:
            batch_size: Images a batch.
        """
        return self._batches(torch.arange(len(self)).split(batch_size), None)

    def rows(self, order: Tensor, batch_size: int) -> Iterator[Batch]:
        """Chosen images, as they are evaluated.

        Args:
            order: Numbers of the images within this part.
            batch_size: Images a batch.
        """
        return self._batches(order.split(batch_size), None)

    def epoch(self, order: Tensor, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Augmented images, as they are trained on.

        Args:
            order: Numbers of the images within this part, in the order of training.
            batch_size: Images a batch; the last may be smaller.
            seed: Seed of the augmentation.
            epoch: Epoch, or number of the view: another one makes other random choices.

        Yields:
            Inputs and targets on the device.
        """
        yield from self.views(order.split(batch_size), seed, epoch)

    def views(self, batches: Sequence[Tensor], seed: int, epoch: int) -> Iterator[Batch]:
        """Augmented images in batches of any size, also of none.

        Args:
            batches: Numbers of the images of each batch, within this part.
            seed: As for ``epoch``.
            epoch: As for ``epoch``.

        Yields:
            Inputs and targets on the device.
        """
        yield from self._batches(batches, (seed, epoch))

    def subset(self, samples: int | None) -> "Part":
        """A part with at most as many images, drawn at random but always the same, in the order of the data.

        Args:
            samples: How many; None is all.
        """
        if samples is None or samples >= len(self):
            return self
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(_SAMPLING_SEED))[:samples]
        return Part(self._source, self.transform, self._indices[drawn.sort().values], str(self._device))

    def to(self, device: str) -> "Part":
        """The same images, their inputs on another device.

        Args:
            device: ``cpu`` or ``cuda``.
        """
        return Part(self._source, self.transform, self._indices, device)

    def _batches(self, batches: Sequence[Tensor], view: tuple[int, int] | None) -> Iterator[Batch]:
        chosen = [self._indices[batch] for batch in batches]
        for indices, pixels in _ahead(self._source, self.transform, chosen, view):
            inputs = normalised(pixels.to(self._device, non_blocking=True), self.transform)
            yield inputs, self._source.targets[indices].to(self._device)


class ImageData(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A data set of images.

    Attributes:
        train: Images to train on.
        test: Images held out.
        classes: Names of the classes, in the order of their indices.
    """

    train: Part
    test: Part
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Digest of all images, 32 hexadecimal digits."""
        return digest_of([self.train.digest.encode(), self.test.digest.encode()])


def _ahead(
    source: Source, transform: Transform, batches: Sequence[Tensor], view: tuple[int, int] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of bytes in order; a few beyond the one in use are decoded meanwhile, no more are held."""
    threads = torch.get_num_threads()
    if threads == 1:
        for indices in batches:
            yield indices, _decoded(source, transform, indices, view)
        return
    waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for indices in batches:
                waiting.append((indices, pool.submit(_decoded, source, transform, indices, view)))
                if len(waiting) > threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decoded(source: Source, transform: Transform, indices: Tensor, view: tuple[int, int] | None) -> Tensor:
    if not len(indices):
        return torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    images = []
    for index in indices.tolist():
        image = source.image(index)
        plain = view is None
        images.append(
            plain_image(image, transform) if plain else augmented_image(image, transform, drawing(*view, index))
        )
    if len({image.shape for image in images}) > 1:
        raise DataError("the images differ in size; give transform.size to scale them to one")
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
