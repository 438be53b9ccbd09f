"""Measuring the layers of a pairing: one after another or on a cluster, each kept as soon as it is done."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

import msgspec

from shrinkscope.analysis.layer_cache import LayerCache, MeasuredLayer
from shrinkscope.analysis.measure import Reading, measure
from shrinkscope.latent import Latent
from shrinkscope.weights import TensorPair

Progress = Callable[[str, int], None]
"""Called with a layer's name and the number of its elements that were done, after each chunk and each layer."""

Tell = Callable[[int, int], None]
"""Called with a layer's number and the number of its elements that were done."""

Measurer = Callable[[Iterable[int], Tell], Iterator[tuple[int, MeasuredLayer]]]
"""Measures the layers of the numbers given, and yields each with its number as soon as it is done, in any order."""


class Cache(msgspec.Struct, frozen=True):
    """Where finished layers are kept.

    Attributes:
        path: An SQLite file or a folder.
        key: What tells a layer from every other one; None for a layer that cannot be told apart and is not kept.
    """

    path: str | os.PathLike[str]
    key: Callable[[TensorPair], str | None]


def measured_layers(
    pairs: Sequence[TensorPair],
    measurer: Measurer,
    cache: Cache | None = None,
    progress: Progress | None = None,
    confirm: Callable[[], None] | None = None,
) -> list[MeasuredLayer]:
    """The layers' records and sums; those in the cache are not measured again.

    Args:
        pairs: The layers before and after compression.
        measurer: Measures them.
        cache: Where finished layers are kept, each as soon as it is done.
        progress: Called with a layer's name and the number of its elements that were done.
        confirm: Called after each measured layer, before it is kept: raises where what was read was being changed.

    Returns:
        One for each pair, in their order.

    Raises:
        StoreError: If the cache cannot be used.
    """
    told = [0] * len(pairs)
    found: dict[int, MeasuredLayer] = {}
    keys: dict[int, str | None] = {}

    def tell(number: int, count: int) -> None:
        told[number] += count
        if progress is not None:
            progress(pairs[number].dense.name, count)

    def take(number: int, layer: MeasuredLayer) -> None:
        found[number] = layer
        rest = pairs[number].dense.parameters - told[number]
        if rest > 0 or not told[number]:
            tell(number, rest)

    with ExitStack() as stack:
        store = None if cache is None else stack.enter_context(LayerCache(cache.path))

        def left() -> Iterator[int]:
            for number, tensors in enumerate(pairs):
                key = keys[number] = None if cache is None else cache.key(tensors)
                known = None if store is None or key is None else store.get(key)
                if known is None:
                    yield number
                else:
                    take(number, known)

        for number, layer in measurer(left(), tell):
            if confirm is not None:
                confirm()
            key = keys[number]
            if store is not None and key is not None:
                store.put(key, layer)
            take(number, layer)
    return [found[number] for number in range(len(pairs))]


def one_by_one(pairs: Sequence[TensorPair], latents: Sequence[Latent], reading: Reading) -> Measurer:
    """Measures layers in this process.

    Args:
        pairs: The layers.
        latents: Latent distributions to take divergences of.
        reading: How layers are read.
    """

    def measurer(numbers: Iterable[int], tell: Tell) -> Iterator[tuple[int, MeasuredLayer]]:
        for number in numbers:
            told = msgspec.structs.replace(reading, progress=lambda count, number=number: tell(number, count))
            row, moments = measure(pairs[number], latents, told)
            yield number, MeasuredLayer(row=row, moments=moments)

    return measurer
