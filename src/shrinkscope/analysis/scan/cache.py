"""Finished candidates in an SQLite file, found again by the content of everything that decides their numbers."""

import hashlib
import os
from collections.abc import Iterable

import torch
from torch import Tensor

from shrinkscope.analysis.row_cache import RowCache, digest
from shrinkscope.analysis.scan.records import ScanRow

SCHEMA = 1
"""Part of every key: changes when a row changes its meaning."""

_FILE = "scan.sqlite"


class ScanCache(RowCache[ScanRow]):
    """Key → row of a candidate.

    Args:
        path: An SQLite file, or a folder (existing, or without a suffix) that will hold one; created when missing.

    Raises:
        StoreError: If the file is damaged or another kind of file, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, ScanRow, _FILE)


def digest_of_tensors(tensors: Iterable[tuple[str, Tensor | None]]) -> str:
    """A hash of the names, types, shapes and bits of tensors, whatever device and memory format they have.

    Args:
        tensors: Name and tensor, None for one that is not there.
    """
    parts: list[bytes] = []
    for name, tensor in tensors:
        if tensor is None:
            parts.append(f"{name} none".encode())
            continue
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        parts.append(hashlib.blake2b(flat.view(torch.uint8).numpy().data if flat.numel() else b"").digest())
    return digest(parts)
