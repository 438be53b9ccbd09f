"""What a worker of a cluster is asked to do: it opens the checkpoints itself, so that no weights travel."""

import hashlib
import platform

import msgspec
import torch

from shrinkscope.analysis.layer_cache import MeasuredLayer
from shrinkscope.analysis.measure import Reading, groups_of, measure, recorded
from shrinkscope.errors import WeightsError
from shrinkscope.latent import Latent
from shrinkscope.weights import CHUNK, LayerSelection, Pairing, open_weights, pair
from shrinkscope.weights.mapping import Rules
from shrinkscope.weights.remote.path import AnyPath, RemotePath
from shrinkscope.weights.summary import Partial, partials, summary_of


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What all shards of a comparison share.

    Attributes:
        key: Tells this comparison from every other one.
        dense, compressed: The checkpoints, where every machine finds them; behind a URL with the versions to read.
        selection: Which tensors take part.
        rules: What is known of the networks' names and shapes.
        latents: Latent distributions to take divergences of.
        reading: How layers are read.
        torch_threads: Threads of torch, with whose number its own sums round.
        form: ``form_of`` of the pairing.
    """

    key: str
    dense: AnyPath
    compressed: AnyPath
    selection: LayerSelection
    rules: Rules | None
    latents: tuple[Latent, ...]
    reading: Reading
    torch_threads: int
    form: str

    def confirm(self) -> None:
        """Make sure that what this process has read of objects in storages was of the versions to read.

        Raises:
            WeightsError: If one was changed.
        """
        for place in (self.dense, self.compressed):
            if isinstance(place, RemotePath):
                place.confirm()

    def opened(self) -> Pairing:
        """The two networks, paired in this process.

        Raises:
            WeightsError: If a checkpoint cannot be read here, or is another one than where the order comes from.
        """
        torch.set_num_threads(self.torch_threads)
        found = pair(open_weights(self.dense), open_weights(self.compressed), self.selection, self.rules)
        if form_of(found) != self.form:
            raise WeightsError(
                f"{self.dense} or {self.compressed} holds other tensors on {platform.node()} than where the "
                "comparison was started; let all machines see the same files"
            )
        return found


class Whole(msgspec.Struct, frozen=True):
    """Layers that are measured as they are; several small ones, so that there are not as many tasks as tensors."""

    numbers: tuple[int, ...]

    def carry_out(self, pairing: Pairing, order: Order) -> list[MeasuredLayer]:
        """Their records and sums."""
        found = (measure(pairing.pairs[number], order.latents, order.reading) for number in self.numbers)
        return [MeasuredLayer(row=row, moments=moments) for row, moments in found]


class Piece(msgspec.Struct, frozen=True):
    """Elements of one layer, from the first of a chunk on.

    Attributes:
        number: The layer's.
        start, stop: The elements.
    """

    number: int
    start: int
    stop: int

    def carry_out(self, pairing: Pairing, order: Order) -> list[Partial]:
        """The statistics of each chunk, which are merged where all pieces are at hand: sums keep their order."""
        tensors, reading = pairing.pairs[self.number], order.reading
        nothing = Partial.nothing(tensors, groups_of(order.latents), values=reading.values)
        starts = range(self.start, self.stop, CHUNK)
        return list(
            partials(tensors, starts, nothing, exact=reading.exact, threads=reading.threads, device=reading.device)
        )


class Record(msgspec.Struct, frozen=True):
    """The record of a layer of which all pieces are merged: a latent may read the tensors for it."""

    number: int
    done: Partial

    def carry_out(self, pairing: Pairing, order: Order) -> MeasuredLayer:
        """Its record and sums."""
        tensors = pairing.pairs[self.number]
        row, moments = recorded(tensors, summary_of(tensors, self.done), order.latents, order.reading)
        return MeasuredLayer(row=row, moments=moments)


Shard = Whole | Piece | Record


def form_of(pairing: Pairing) -> str:
    """A hash of the names, types and shapes of all paired tensors: files of another form have another one.

    Args:
        pairing: The two networks.
    """
    hashed = hashlib.blake2b(digest_size=20)
    for tensors in pairing.pairs:
        for view in (tensors.dense, tensors.compressed):
            hashed.update(repr((view.name, str(view.dtype), view.shape)).encode())
    return hashed.hexdigest()
