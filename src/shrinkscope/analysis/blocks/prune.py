"""Pruning a network in a folder to a plan, with one block of it in memory."""

import shutil
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from shrinkscope.analysis.blocks.journal import FOLDER, Journal, journal_of, key_of
from shrinkscope.analysis.blocks.moments import BlockMoments
from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.blocks.records import BlockReport, PrunedBlocks
from shrinkscope.analysis.blocks.streams import Stream, written
from shrinkscope.analysis.blocks.within import NEEDS, WITHIN, Within, pruned_layer
from shrinkscope.analysis.blocks.writing import SHARD_BYTES, Shards, shards_of, write_rest, write_shard
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.compression.checks import check_choice, listing
from shrinkscope.errors import CompressionError

BATCH = 4
"""Sequences that are run through a block together."""


def prune_blocks(
    checkpoint: str | PathLike[str],
    plan: Plan,
    tokens: Tensor,
    out: str | PathLike[str],
    *,
    within: Within = "swept",
    damping: float = 0.01,
    shard_bytes: int = SHARD_BYTES,
    batch_size: int = BATCH,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> PrunedBlocks:
    """Prune a network block by block: each sees what the pruned blocks before it give, and is written at once.

    In memory are one block, the input moments of its layers and a few sequences; the hidden states of all sequences
    are in files beside the output. A run that was interrupted goes on after the last block, to the same bytes.

    Args:
        checkpoint: A folder in the layout of Hugging Face: config.json and safetensors in any number of files.
        plan: How many weights go from each layer, by the names of the checkpoint.
        tokens: Token ids to gather the moments on, shape (sequences, positions).
        out: The folder to write: safetensors with an index, and the other files of the checkpoint. New, or that of the
            interrupted run.
        within: Which weights of a layer go: ``magnitude``, ``informed`` (Wanda), ``swept`` (SparseGPT) or
            ``compensated`` (``CompensatedPruning``, for layers of up to a few hundred columns).
        damping: Of the moments, where weights move.
        shard_bytes: Most bytes of a file; a block is a file of its own, or several.
        batch_size: Sequences that are run together.
        dtype: In which blocks are run; tensors are written in the type that they were stored in.
        device: Where they are run.
        progress: Called with the number of blocks done.

    Returns:
        What was removed and the error of the hidden states, block by block.

    Raises:
        WeightsError: If the checkpoint is of another architecture, or damaged.
        CompressionError: If the plan is for another network, or a weight is NaN or infinite.
        DataError: If the tokens are not the network's.
        OutputError: If the output cannot be written, or is another run's.
    """
    check_choice("within", within, WITHIN)
    network = BlockNetwork(Path(checkpoint), dtype=dtype, device=device)
    tokens, counts = network.check_tokens(tokens), _counts(network, plan)
    shards, folder = shards_of(network, shard_bytes), Path(out)
    settings = {
        "counts": counts,
        "within": within,
        "damping": damping,
        "shard_bytes": shard_bytes,
        "batch_size": batch_size,
        "dtype": str(dtype),
    }
    journal = journal_of(folder, key_of(network.folder, tokens, settings))
    journal.save(folder)
    run = _Run(network, counts, shards, folder, within, damping, batch_size)
    resumed = len(journal.blocks)
    with torch.no_grad():
        run.begin(tokens, journal)
        for number in range(resumed, network.depth):
            journal = run.block(number, journal)
            if progress is not None:
                progress(number + 1)
    write_rest(network, folder, shards)
    shutil.rmtree(folder / FOLDER)
    return PrunedBlocks(blocks=journal.blocks, within=within, sequences=len(tokens), resumed=resumed)


class _Run:
    """The steps of one run, each of which leaves files from which the next can go on."""

    def __init__(
        self,
        network: BlockNetwork,
        counts: dict[str, int],
        shards: Shards,
        folder: Path,
        within: Within,
        damping: float,
        batch: int,
    ) -> None:
        self._network, self._counts, self._shards, self._folder = network, counts, shards, folder
        self._damping, self._batch = damping, batch
        self._within: Within = within

    def begin(self, tokens: Tensor, journal: Journal) -> None:
        shape = (len(tokens), tokens.shape[1], self._network.width)
        first = not journal.blocks
        with self._network.beginning() as embed:
            if not first:
                for ids in {len(part): part for part in tokens.split(self._batch)}.values():
                    embed(ids)  # for what the blocks are called with
                return
            with written(self._path("dense", 0), shape, self._network.dtype) as stream:
                for ids in tokens.split(self._batch):
                    stream.write(embed(ids))
        shutil.copyfile(self._path("dense", 0), self._path("pruned", 0))

    def block(self, number: int, journal: Journal) -> Journal:
        start, network = time.perf_counter(), self._network
        chosen = [name for name in network.layers(number) if self._counts.get(name)]
        with network.block(number) as block:
            layers = network.layers(number)
            self._propagate("dense", number, block)
            tensors = self._pruned(number, block, {name: layers[name] for name in chosen})
            self._propagate("pruned", number, block)
            self._write(number, tensors)
        planned = {name: layer for name, layer in layers.items() if name in self._counts}
        report = BlockReport(
            block=number,
            weights=sum(layer.weight.numel() for layer in planned.values()),
            removed=sum(self._counts[name] for name in planned),
            error=self._error(number + 1),
            seconds=time.perf_counter() - start,
        )
        journal = Journal(key=journal.key, blocks=(*journal.blocks, report))
        journal.save(self._folder)
        for kind in ("dense", "pruned"):
            self._path(kind, number).unlink(missing_ok=True)
        return journal

    def _pruned(self, number: int, block: nn.Module, layers: dict[str, nn.Linear]) -> dict[str, Tensor]:
        """Prune the layers of a block in place; the new tensors in the types that they are stored in."""
        needs, moments = NEEDS[self._within], None
        if needs != "nothing" and layers:
            moments = BlockMoments(layers, diagonal=needs == "squares")
            moments.gather(lambda hidden: self._network.run(number, block, hidden), self._stream("pruned", number))
        found = {}
        for name, layer in layers.items():
            new = pruned_layer(name, layer.weight, self._counts[name], self._within, moments, self._damping)
            found[name] = new.to(self._network.weights[name].dtype)
            # What is stored goes on, rounded to its type.
            layer.weight = nn.Parameter(found[name].to(self._network.dtype), requires_grad=False)
        return found

    def _propagate(self, kind: str, number: int, block: nn.Module) -> None:
        stream = self._stream(kind, number)
        with written(self._path(kind, number + 1), stream.shape, self._network.dtype) as after:
            for hidden in stream:
                after.write(self._network.run(number, block, hidden))

    def _write(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        for file in self._shards.blocks[number]:
            own = {name: tensors[name] for name in self._shards.names[file] if name in tensors}
            rest = {n: self._network.weights[n].read() for n in self._shards.names[file] if n not in own}
            write_shard(self._folder, self._shards, file, own | rest)

    def _error(self, number: int) -> float:
        difference = size = 0.0
        for dense, pruned in zip(self._stream("dense", number), self._stream("pruned", number), strict=True):
            difference += float((pruned - dense).double().square().sum())
            size += float(dense.double().square().sum())
        return (difference / size) ** 0.5 if size else 0.0

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / FOLDER / f"{kind}-{number:04d}.npy"

    def _stream(self, kind: str, number: int) -> Stream:
        return Stream(self._path(kind, number), self._batch, self._network.device)


def _counts(network: BlockNetwork, plan: Plan) -> dict[str, int]:
    sizes = {}
    for number in range(network.depth):
        sizes |= {name: network.weights[name].parameters for name in network.layers(number)}
    for row in plan.rows:
        if sizes.get(row.layer) != row.weights:
            found = f"{sizes[row.layer]} weights" if row.layer in sizes else f"no such layer in {listing(sizes)}"
            raise CompressionError(
                f"the plan removes {row.removed} of {row.weights} weights of {row.layer}, and {network.folder} has "
                f"{found}; plan for this checkpoint with shrinkscope plan --blocks"
            )
    return {row.layer: row.removed for row in plan.rows}
