"""Comparing on a Ray cluster: shards of the comparison are tasks, of which Ray repeats those whose worker dies."""

import os
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import torch

from shrinkscope import errors
from shrinkscope.analysis.layer_cache import MeasuredLayer
from shrinkscope.analysis.measure import Reading, groups_of, not_weights
from shrinkscope.analysis.measuring import Measurer, Tell
from shrinkscope.analysis.shards import Order, Piece, Record, Shard, Whole, form_of
from shrinkscope.cluster import RETRIES, joined, said
from shrinkscope.errors import ClusterError, ShrinkscopeError
from shrinkscope.latent import Latent
from shrinkscope.weights import CHUNK, LayerSelection, Pairing, TensorPair, Weights
from shrinkscope.weights.mapping import Rules
from shrinkscope.weights.summary import Partial

PIECE = 16 * CHUNK
"""Elements of a shard: 128 MiB of a bfloat16 tensor, which takes much longer than a task costs."""

_LAYERS = 32  # of small tensors in one task: on another machine each may cost a request
_AHEAD = 3  # tasks a core that are submitted: none waits for the next, and no plan of a million tensors is held


class Failure(msgspec.Struct, frozen=True):
    """An error of ours in a worker, which Ray would wrap into its traceback."""

    kind: str
    text: str


def order_of(
    dense: Weights,
    compressed: Weights,
    pairing: Pairing,
    *,
    selection: LayerSelection,
    rules: Rules | None,
    latents: Iterable[Latent],
    reading: Reading,
) -> Order:
    """What the workers of a cluster are told of a comparison.

    Args:
        dense: The weights before compression, from a file or directory.
        compressed: The weights after it, likewise.
        pairing: The two, paired.
        selection: Which tensors take part.
        rules: What is known of the networks' names and shapes.
        latents: Latent distributions to take divergences of.
        reading: How layers are read; one thread a task unless it says otherwise.

    Raises:
        ClusterError: If weights are in memory.
    """
    places = []
    for weights in (dense, compressed):
        if weights.place is None:
            raise ClusterError(
                f"the weights of {weights.origin} are in memory, and workers of a cluster read files; "
                "save them, and compare the paths"
            )
        places.append(weights.place.absolute())
    return Order(
        key=uuid.uuid4().hex,
        dense=places[0],
        compressed=places[1],
        selection=selection,
        rules=rules,
        latents=tuple(latents),
        reading=msgspec.structs.replace(reading, threads=reading.threads or 1),
        torch_threads=torch.get_num_threads(),
        form=form_of(pairing),
    )


def on_ray(address: str, pairing: Pairing, order: Order) -> Measurer:
    """Measures layers on a Ray cluster; every digit is that of ``one_by_one``.

    Args:
        address: Of the cluster; ``local`` starts one on this machine.
        pairing: The two networks.
        order: What the workers are told.

    Returns:
        What ``measured_layers`` takes. It raises a ClusterError if the cluster cannot be joined, has no GPU where one
        is asked for, or a task dies again and again; and whatever a worker raises.
    """

    def measurer(numbers: Iterable[int], tell: Tell) -> Iterator[tuple[int, MeasuredLayer]]:
        with joined(address, _cores()) as ray:
            tasks = _Tasks(ray, pairing.pairs, order, tell)
            try:
                yield from tasks.carry_out(_shards(pairing.pairs, numbers))
            finally:
                tasks.cancel()

    return measurer


def _shards(pairs: tuple[TensorPair, ...], numbers: Iterable[int]) -> Iterator[Shard]:
    """Long tensors in pieces, short ones several together."""
    together: list[int] = []
    elements = 0
    for number in numbers:
        tensors = pairs[number]
        size = tensors.dense.parameters
        if size > PIECE and _in_windows(tensors):
            yield from (Piece(number, start, min(start + PIECE, size)) for start in range(0, size, PIECE))
            continue
        if together and (elements + size > PIECE or len(together) == _LAYERS):
            yield Whole(tuple(together))
            together, elements = [], 0
        together.append(number)
        elements += size
    if together:
        yield Whole(tuple(together))


def _in_windows(tensors: TensorPair) -> bool:
    # Without windows each task would read the whole tensor.
    return not_weights(tensors) is None and None not in (tensors.dense.window, tensors.compressed.window)


class _Tasks:
    """Shards as tasks of Ray.

    Args:
        ray: The module, part of a cluster.
        pairs: The layers.
        order: What the workers are told.
        tell: Called with a layer's number and the number of its elements that were done.

    Raises:
        ClusterError: If the cluster has no GPU and one is asked for.
    """

    def __init__(self, ray: Any, pairs: tuple[TensorPair, ...], order: Order, tell: Tell) -> None:
        self._ray, self._pairs, self._order, self._tell = ray, pairs, order, tell
        resources = ray.cluster_resources()
        gpus = 1 if (order.reading.device or "").startswith("cuda") else 0
        if gpus > resources.get("GPU", 0):
            raise ClusterError(f"no machine of the Ray cluster has a GPU for {order.reading.device}; leave device out")
        self._limit = _AHEAD * max(1, int(resources.get("CPU", 1)))
        self._remote = ray.remote(max_retries=RETRIES, num_gpus=gpus)(_compare_shard)
        self._sent = ray.put(order)
        self._open: dict[Any, Shard] = {}
        self._pieces: dict[int, dict[int, list[Partial]]] = {}

    def carry_out(self, shards: Iterator[Shard]) -> Iterator[tuple[int, MeasuredLayer]]:
        """The layers, each as soon as it is done."""
        while True:
            while len(self._open) < self._limit and (shard := next(shards, None)) is not None:
                self._submit(shard)
            if not self._open:
                return
            ready, _ = self._ray.wait(list(self._open), num_returns=1)
            yield from self._take(self._open.pop(ready[0]), ready[0])

    def cancel(self) -> None:
        """Stop what is still being done: after an interruption nobody waits for it."""
        for task in self._open:
            self._ray.cancel(task, force=True)
        self._open.clear()

    def _submit(self, shard: Shard) -> None:
        self._open[self._remote.remote(self._sent, shard)] = shard

    def _take(self, shard: Shard, task: Any) -> Iterator[tuple[int, MeasuredLayer]]:
        found = self._answer(shard, task)
        if isinstance(shard, Whole):
            yield from zip(shard.numbers, found, strict=True)
        elif isinstance(shard, Record):
            yield shard.number, found
        else:
            self._tell(shard.number, shard.stop - shard.start)
            self._merge(shard, found)

    def _answer(self, shard: Shard, task: Any) -> Any:
        try:
            found = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            number = shard.numbers[0] if isinstance(shard, Whole) else shard.number
            name = self._pairs[number].dense.name
            raised = isinstance(error, self._ray.exceptions.RayTaskError)
            how = "raised an error" if raised else f"died {1 + RETRIES} times"
            raise ClusterError(f"{name}: a worker of Ray {how}: {said(error)}") from error
        if isinstance(found, Failure):
            raise getattr(errors, found.kind, ShrinkscopeError)(found.text)
        return found

    def _merge(self, shard: Piece, found: list[Partial]) -> None:
        """Keep the piece; when it is the last one, merge all in the order of the tensor."""
        tensors = self._pairs[shard.number]
        pieces = self._pieces.setdefault(shard.number, {})
        pieces[shard.start] = found
        if len(pieces) == -(-tensors.dense.parameters // PIECE):
            del self._pieces[shard.number]
            reading = self._order.reading
            done = Partial.nothing(tensors, groups_of(self._order.latents), values=reading.values)
            for start in sorted(pieces):
                for partial in pieces[start]:
                    done = done.merge(partial)
            self._submit(Record(shard.number, done))


_here: tuple[Order, Pairing] | None = None


def _compare_shard(order: Order, shard: Shard) -> Any:
    """What a worker of Ray does; it keeps the opened checkpoints for the next task."""
    global _here  # a worker process is Ray's, and has no place of ours to keep things
    try:
        if _here is None or _here[0].key != order.key:
            _here = (order, order.opened())
        found = shard.carry_out(_here[1], order)
        _here[0].confirm()
        return found
    except ShrinkscopeError as error:
        return Failure(type(error).__name__, str(error))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
