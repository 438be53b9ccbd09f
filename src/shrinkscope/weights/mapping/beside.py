"""JSON files that lie with a network's weights and say what names and shapes do not."""

from typing import Any

import msgspec

from shrinkscope.errors import PairingError
from shrinkscope.weights.remote.path import AnyPath

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


def read_beside(place: AnyPath | None, name: str) -> dict[str, Any] | None:
    """The JSON object in a file that lies with the weights.

    Args:
        place: Where the weights come from; what is in memory has nothing beside it.
        name: The file's name, for example ``"config.json"``.

    Returns:
        The object; None when there is no such file.

    Raises:
        PairingError: If the file is there and cannot be read.
    """
    if place is None or not place.exists():
        return None
    path = (place if place.is_dir() else place.parent) / name
    return read_object(path) if path.is_file() else None


def read_object(path: AnyPath) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        PairingError: If it cannot be read, or is no object.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise PairingError(f"{path}: not a readable JSON object ({reason}); is it truncated?") from error


def heads_beside(*places: AnyPath | None) -> int | None:
    """The number of attention heads in the first config.json that says it."""
    for place in places:
        config = read_beside(place, "config.json") or {}
        for key in _HEADS:
            if isinstance(config.get(key), int) and not isinstance(config[key], bool):
                return config[key]
    return None
