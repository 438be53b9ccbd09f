"""Weights in files and directories; nothing of them is read when they are opened but what describes the tensors."""

from collections.abc import Callable

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.checks import shown
from shrinkscope.weights.formats.directory import INDEX, read_directory, read_index
from shrinkscope.weights.formats.npz import read_npz
from shrinkscope.weights.formats.quantization import with_config
from shrinkscope.weights.formats.safetensors_file import read_safetensors
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.remote.path import AnyPath
from shrinkscope.weights.statedict import weights_of_stored
from shrinkscope.weights.view import Weights


def weights_of_file(path: AnyPath) -> Weights:
    """The tensors of a checkpoint.

    Args:
        path: A .safetensors, .pt, .pth, .bin, .npz or .gguf file, the .index.json of a checkpoint in several files, or
            the directory of a network in the layout of Hugging Face; on this machine, or behind a URL.

    Returns:
        Its tensors under plain names, packed formats as the weights they stand for.

    Raises:
        WeightsError: If it does not exist, is of another format, damaged, or would need to run code to be read.
    """
    return weights_of_stored(_stored(path), str(path), path)


def _stored(path: AnyPath) -> Stored:
    try:
        if path.is_symlink() and not path.exists():
            raise WeightsError(f"{shown(path)}: is a symbolic link to a file that is not there; fetch the file again")
        if not path.exists():
            raise WeightsError(f"{shown(path)}: no such file")
        if path.is_dir():
            return read_directory(path, _READERS)
        if path.name.endswith(INDEX):
            return with_config(read_index(path, _READERS), path.parent)
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            found = path.suffix or "no suffix"
            raise WeightsError(f"{path}: unknown format ({found}); expected one of {', '.join(sorted(_READERS))}")
        if not path.is_file():
            raise WeightsError(f"{path}: is no regular file; expected a checkpoint")
        return with_config(reader(path), path.parent, strict=False)
    except (OSError, ValueError) as error:
        # A name that no file can have, a folder that may not be read.
        raise WeightsError(
            f"{shown(path)}: cannot be opened ({shown(error)}); check its name and permissions"
        ) from error


def _read_torch(path: AnyPath) -> Stored:
    from shrinkscope.weights.formats.torch_file import read_torch

    return read_torch(path)


def _read_gguf(path: AnyPath) -> Stored:
    from shrinkscope.weights.formats.gguf_file import read_gguf

    return read_gguf(path)


_READERS: dict[str, Callable[[AnyPath], Stored]] = {
    ".safetensors": read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".bin": _read_torch,
    ".npz": read_npz,
    ".gguf": _read_gguf,
}
