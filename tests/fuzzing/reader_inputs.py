"""Bytes of a fuzzer turned into checkpoints, and the promise that every checkpoint is read or refused in one line."""

import io
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights

PIECE = 4096
"""Elements read from either end of every tensor."""

_SHARD = save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4)})
_PACKED = save(
    {
        "a.weight_packed": torch.arange(16, dtype=torch.int32).reshape(4, 4),
        "a.weight_scale": torch.ones(4, 2, dtype=torch.float16),
        "a.weight_shape": torch.tensor([4, 32]),
        "b.weight": torch.ones(4, 8).to(torch.float8_e4m3fn),
        "b.weight_scale": torch.ones(2, 2),
    }
)


def _safetensors(data: bytes) -> bytes:
    """A header whose length is right, and what stands behind a zero byte as numbers."""
    header, _, numbers = data.partition(b"\0")
    return struct.pack("<Q", len(header)) + header + numbers


def _archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return content.getvalue()


def _pickle(data: bytes) -> bytes:
    """A PyTorch file around a pickle, whose checksum would stop every change."""
    members = {
        "data.pkl": data,
        "byteorder": b"little",
        "version": b"3\n",
        **{f"data/{key}": bytes(64) for key in range(3)},
    }
    return _archive({f"archive/{name}": content for name, content in members.items()})


def checkpoint(data: bytes, folder: Path) -> Path:
    """Write the checkpoint that an input stands for.

    Args:
        data: Its first byte chooses the kind.
        folder: Where to; what was there under the same names is replaced.

    Returns:
        The path to open.
    """
    kind, rest = (data[0] if data else 0) % 10, data[1:]
    files = {
        0: {"x.safetensors": rest},
        1: {"x.safetensors": _safetensors(rest)},
        2: {"x.npz": rest},
        3: {"x.npz": _archive({"a.npy": rest})},
        4: {"x.npz": _archive({"a.npy": rest}, zipfile.ZIP_DEFLATED)},
        5: {"x.pt": rest},
        6: {"x.pt": _pickle(rest)},
        7: {"x.gguf": rest},
        8: {"model.safetensors.index.json": rest, "s.safetensors": _SHARD},
        9: {"config.json": rest, "model.safetensors": _PACKED},
    }[kind]
    target = folder / f"kind{kind}"
    target.mkdir(exist_ok=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
    return target if kind == 9 else target / next(iter(files))


def read_or_refuse(path: Path) -> int:
    """Open a checkpoint and read from every tensor.

    Args:
        path: The checkpoint.

    Returns:
        The number of tensors; -1 when it is refused.

    Raises:
        AssertionError: If a message is no single printable line, or a piece is not what its view says.
    """
    try:
        weights = open_weights(path)
    except WeightsError as error:
        _check_message(str(error))
        return -1
    for name, reason in weights.unreadable.items():
        _check_message(f"{name}: {reason}")
    for view in weights.values():
        count = view.parameters
        for start in {0, max(count - PIECE, 0)} if view.window is not None or count < 1 << 20 else ():
            stop = min(start + PIECE, count)
            try:
                piece = view.piece(start, stop)
            except WeightsError as error:
                _check_message(str(error))
                continue
            assert (piece.numel(), piece.dtype, piece.dim()) == (stop - start, view.dtype, 1), view
    return len(weights)


def _check_message(text: str) -> None:
    assert text.isprintable(), repr(text)
    assert len(text) < 2000
