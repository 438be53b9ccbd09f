"""A checkpoint in the layout of Hugging Face, written part by part."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.errors import OutputError
from shrinkscope.files import atomic_path, write_text
from shrinkscope.weights import TensorView, save_tensors

SHARD_BYTES = 5_000_000_000
"""Most bytes of a file, as transformers writes them, unless one tensor alone has more."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".index.json", ".h5", ".msgpack", ".onnx")


class Shards(NamedTuple):
    """Which tensors go into which file.

    Attributes:
        names: File → its tensors; at least one file a block, those of no block first.
        blocks: For each block its files.
        rest: The files of what belongs to no block.
    """

    names: dict[str, list[str]]
    blocks: list[list[str]]
    rest: list[str]


def shards_of(network: BlockNetwork, largest: int = SHARD_BYTES) -> Shards:
    """Files for the tensors of a network: a block's are together, so that it can be written as soon as it is done.

    Args:
        network: The network.
        largest: Most bytes of a file.

    Raises:
        OutputError: If ``largest`` is not positive.
    """
    if largest < 1:
        raise OutputError(f"the largest file is {largest} bytes; expected a positive number, such as {SHARD_BYTES}")
    groups: list[list[TensorView]] = [[] for _ in range(network.depth + 1)]
    for name, view in network.weights.items():
        groups[_block_of(network, name) + 1].append(view)
    packed = [_packed(views, largest) for views in groups]
    total, number = sum(map(len, packed)), 0
    names: dict[str, list[str]] = {}
    files: list[list[str]] = []
    for parts in packed:
        files.append([])
        for part in parts:
            number += 1
            file = f"model-{number:05d}-of-{total:05d}.safetensors"
            names[file] = part
            files[-1].append(file)
    return Shards(names, files[1:], files[0])


def write_shard(folder: Path, shards: Shards, file: str, tensors: Mapping[str, Tensor]) -> None:
    """Write one file.

    Args:
        folder: The checkpoint's folder.
        shards: The files.
        file: Which of them.
        tensors: At least its tensors.
    """
    # transformers reads no file that does not say which library's tensors it holds.
    save_tensors(folder / file, {name: tensors[name] for name in shards.names[file]}, {"format": "pt"})


def write_rest(network: BlockNetwork, folder: Path, shards: Shards) -> None:
    """Copy what belongs to no block, the configuration and the tokenizer; write the index last: all is there then.

    Args:
        network: The network that is copied.
        folder: The new checkpoint's folder.
        shards: Its files.

    Raises:
        OutputError: If a file cannot be written.
    """
    for file in shards.rest:
        write_shard(folder, shards, file, {name: network.weights[name].read() for name in shards.names[file]})
    for source in sorted(network.folder.iterdir()):
        if source.is_file() and not source.name.endswith(_WEIGHTS):
            with atomic_path(folder / source.name) as temporary:
                shutil.copyfile(source, temporary)
    views = network.weights
    size = sum(view.parameters * view.dtype.itemsize for view in views.values())
    places = {name: file for file, names in shards.names.items() for name in names}
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
    write_text(folder / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")


def _block_of(network: BlockNetwork, name: str) -> int:
    """Number of the block of a stored tensor, −1 for none."""
    inner = network.prefix.removeprefix(f"{network.model.base_model_prefix}.")
    for prefix in (f"{network.prefix}.", f"{inner}.", f"{network.model.base_model_prefix}.{inner}."):
        number = name.removeprefix(prefix).partition(".")[0] if name.startswith(prefix) else ""
        if number.isdigit() and int(number) < network.depth:
            return int(number)
    return -1


def _packed(views: list[TensorView], largest: int) -> list[list[str]]:
    parts: list[list[str]] = []
    room = 0
    for view in views:
        size = view.parameters * view.dtype.itemsize
        if not parts or size > room:
            parts.append([])
            room = largest
        parts[-1].append(view.name)
        room -= size
    return parts
