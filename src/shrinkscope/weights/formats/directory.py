"""Checkpoints in several files: an index that names the file of each tensor, and the directories that hold them."""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath, PureWindowsPath

import msgspec

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.checks import checked_name, first_line, shown
from shrinkscope.weights.formats.quantization import with_config
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.remote.path import AnyPath

Reader = Callable[[AnyPath], Stored]

INDEX = ".index.json"
_LARGEST_INDEX = 1 << 28
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz")
"""In the order in which they are preferred: the first kind that a directory holds is read."""

_NO_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
"""Beginnings of the names of what a trainer saves beside the weights."""


def read_directory(folder: AnyPath, readers: Mapping[str, Reader]) -> Stored:
    """The tensors of a network's directory.

    Args:
        folder: The directory. Files of safetensors are preferred to those of PyTorch, an index to a single file.
        readers: Suffix → reader.

    Returns:
        Views of them, with the quantisation that config.json tells.

    Raises:
        WeightsError: If there are no weights, or several files of which none is named as the whole.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.is_dir())
    for suffix in _SUFFIXES:
        files = [name for name in names if name.endswith(suffix) and not name.startswith(_NO_WEIGHTS)]
        indices = [name for name in names if name.endswith(suffix + INDEX)]
        if not files and not indices:
            continue
        chosen = _only(folder, indices, files)
        if chosen.endswith(INDEX):
            return with_config(read_index(folder / chosen, readers), folder)
        return with_config(readers[suffix](folder / chosen), folder)
    known = ", ".join(f"*{suffix}" for suffix in _SUFFIXES)
    raise WeightsError(f"{folder}: is a directory without weights; expected {known} or an index of such files in it")


def _only(folder: AnyPath, indices: list[str], files: list[str]) -> str:
    for found in (indices, [name for name in files if name in ("model.safetensors", "pytorch_model.bin")], files):
        if len(found) == 1:
            return found[0]
    several = indices or files
    shards = not indices and any("-of-" in name for name in files)
    what = "is its index missing? Fetch it, or name one file" if shards else "name the one that is meant"
    listed = ", ".join(shown(name) for name in several[:3])
    raise WeightsError(f"{folder}: holds {len(several)} files of weights ({listed}, …); {what}")


def read_index(path: AnyPath, readers: Mapping[str, Reader]) -> Stored:
    """The tensors that an index lists, from the files that it names.

    Args:
        path: The index, ``{"weight_map": {tensor: file}}``.
        readers: Suffix → reader.

    Returns:
        Views of them in the order of the index.

    Raises:
        WeightsError: If the index is damaged, leads out of its directory, or names a file or tensor that is not there.
    """
    places = _weight_map(path)
    files = {file: _shard(path, file, readers) for file in dict.fromkeys(places.values())}
    views, tied, unreadable = {}, {}, {}
    for name, file in places.items():
        stored = files[file]
        if name in stored.views:
            views[name] = stored.views[name]
        elif name in stored.tied:
            tied[name] = stored.tied[name]
        elif name in stored.unreadable:
            unreadable[name] = stored.unreadable[name]
        else:
            raise WeightsError(
                f"{path}: says that {shown(name)} lies in {shown(file)}, which does not have it; fetch both"
            )
    # A tied name needs the tensor that it is tied to, whatever the index says.
    for file in files.values():
        views |= {first: file.views[first] for first in tied.values() if first in file.views}
    metadata = {key: value for stored in files.values() for key, value in stored.metadata.items()}
    return Stored(views=views, tied=tied, unreadable=unreadable, metadata=metadata)


def _weight_map(path: AnyPath) -> dict[str, str]:
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        index = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        places = json.loads(bytes(index["weight_map"]))
    except KeyError:
        raise WeightsError(f"{path}: has no weight_map; expected an index of tensors; fetch it again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a readable index ({first_line(error)}); is it truncated?") from error
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise WeightsError(f"{path}: its weight_map does not map tensors to files; fetch it again")
    return {checked_name(name, str(path)): file for name, file in places.items()}


def _shard(index: AnyPath, file: str, readers: Mapping[str, Reader]) -> Stored:
    # Only the name is judged: in the cache of Hugging Face the files themselves are links that lead elsewhere.
    for kind in (PurePosixPath, PureWindowsPath):
        plain = kind(file)
        if plain.is_absolute() or plain.drive or ".." in plain.parts or "\0" in file:
            raise WeightsError(f"{index}: names the file {shown(file)} outside its own directory; do not trust it")
    place = index.parent / file
    if not place.is_file():
        raise WeightsError(f"{index}: names the file {shown(file)}, which is not there; fetch it")
    reader = readers.get(place.suffix.lower())
    if reader is None:
        raise WeightsError(f"{index}: names the file {shown(file)} of unknown format; expected {', '.join(readers)}")
    return reader(place)
