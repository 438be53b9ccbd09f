"""Finished layers of comparisons in an SQLite file: what an interrupted comparison need not measure again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.analysis.measure import Reading
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.analysis.row_cache import RowCache, digest
from shrinkscope.deferred import torch
from shrinkscope.errors import StoreError
from shrinkscope.kernel import Numbers
from shrinkscope.latent import Latent
from shrinkscope.version import version
from shrinkscope.weights import CHUNK, PairMoments, TensorPair, TensorView, Weights
from shrinkscope.weights.mapping import Rules
from shrinkscope.weights.remote.path import AnyPath, RemotePath
from shrinkscope.weights.summary import pieces_of

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 2
"""Part of every key: changes when a row changes its meaning."""

_FILE = "diff.sqlite"
_WHOLE = 1 << 20  # elements up to which all bits are hashed, at a GB/s: a few milliseconds
_SAMPLES, _SAMPLE = 64, 4096  # pieces and their elements of a longer tensor that is in a file


class MeasuredLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer's record, and the sums that totals are made of."""

    row: LayerRecord
    moments: PairMoments


class LayerCache(RowCache[MeasuredLayer]):
    """Key → measured layer.

    Args:
        path: An SQLite file, or a folder (existing, or without a suffix) that will hold one; created when missing.

    Raises:
        StoreError: If the file is damaged or another kind of file, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, MeasuredLayer, _FILE)


def keys_of(
    dense: Weights, compressed: Weights, latents: Iterable[Latent], reading: Reading, rules: Rules | None = None
) -> Callable[[TensorPair], str | None]:
    """What tells a measured layer from every other one.

    The key covers the settings, the tensors' names, types and shapes, and their content. Hashing all bits of a long
    tensor would take longer than comparing it, so of those that come from a file the key has the file's path, size and
    time of change, and the bits of 64 pieces spread over the tensor; all bits of all others. Of weights behind a URL it
    has what the storage tells of each object's version, and no bits, which would have to be fetched.

    Args:
        dense: The weights before compression.
        compressed: The weights after it.
        latents: The latents that are asked for.
        reading: How layers are read.
        rules: How the networks are brought to one form, which decides what a long tensor holds between the samples.

    Returns:
        The key of a pair of tensors; None where a side lies in a storage that tells no version of it.

    Raises:
        StoreError: If a latent cannot be written down, so that no key could tell it from another.
    """
    settings = [b"diff", str(SCHEMA).encode(), version().encode(), *(_written(latent) for latent in latents)]
    settings.append(msgspec.json.encode((reading.exact, reading.values, reading.rank, reading.device)))
    settings.append(msgspec.json.encode(rules))
    sides = [_Side.of(weights.place) for weights in (dense, compressed)]

    def key(pair: TensorPair) -> str | None:
        parts = [*settings]
        for view, side in zip((pair.dense, pair.compressed), sides, strict=True):
            if side is None:
                return None
            parts += [f"{view.name} {view.type} {view.shape}".encode(), *side.files]
            parts += [] if side.certain else [_bits(view, sampled=bool(side.files))]
        return digest(parts)

    return key


class _Side(msgspec.Struct, frozen=True):
    """What tells the files that weights come from; ``certain`` where that alone tells their content."""

    files: list[bytes]
    certain: bool = False

    @staticmethod
    def of(place: AnyPath | None) -> "_Side | None":
        if not isinstance(place, RemotePath):
            return _Side([] if place is None else _files(place))
        identity = place.identity()
        return None if identity is None else _Side([part.encode() for part in identity], certain=True)


def _written(latent: Latent) -> bytes:
    try:
        return msgspec.json.encode(latent)
    except TypeError as error:
        raise StoreError(
            f"results of the latent {latent.column} cannot be cached: its settings cannot be written down ({error}); "
            "leave the cache out"
        ) from error


def _files(path: Path) -> list[bytes]:
    """The files that weights come from, each with its size and time of change."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    found = [(file.resolve(), file.stat()) for file in files]
    return [f"{file} {status.st_size} {status.st_mtime_ns}".encode() for file, status in found]


def _bits(view: TensorView, *, sampled: bool) -> bytes:
    hashed, total, read = hashlib.blake2b(), view.parameters, pieces_of(view)
    if sampled and total > _WHOLE:
        step = (total - _SAMPLE) // (_SAMPLES - 1)
        pieces = [(k * step, k * step + _SAMPLE) for k in range(_SAMPLES)]
    else:
        pieces = [(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    for start, stop in pieces:
        hashed.update(_bytes(read(start, stop)))
    return hashed.digest()


def _bytes(values: Tensor | Numbers) -> memoryview:
    if isinstance(values, Numbers):
        return values.raw.data
    return values.to("cpu").contiguous().view(torch.uint8).numpy().data
