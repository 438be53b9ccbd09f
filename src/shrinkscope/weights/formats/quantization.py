"""How a network was quantised, as the config.json of its directory says."""

import json
from typing import Any

import msgspec

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.checks import first_line
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.remote.path import AnyPath

_LARGEST = 1 << 26
_KEYS = ("quantization_config", "compression_config")
"""Where it stands; the second was used by compressed-tensors before it agreed with the first."""


def with_config(stored: Stored, folder: AnyPath, *, strict: bool = True) -> Stored:
    """Stored tensors with what the folder's configuration says of their quantisation.

    Args:
        stored: The tensors.
        folder: Where ``config.json`` lies, or AutoGPTQ's ``quantize_config.json``; both may be absent.
        strict: Whether a damaged one is an error: it is in a network's directory, and beside a single file, whose
            folder may be anybody's, it is as good as absent.

    Returns:
        The tensors with ``quantization`` filled in.

    Raises:
        WeightsError: If the configuration is there and is no JSON object.
    """
    config = _object(folder / "config.json", strict=strict)
    found = next((config[key] for key in _KEYS if isinstance(config.get(key), dict)), None)
    if found is None:
        found = _object(folder / "quantize_config.json", strict=strict)
    return msgspec.structs.replace(stored, quantization=found)


def _object(path: AnyPath, *, strict: bool) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError(f"it holds a {type(found).__name__}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        if not strict:
            return {}
        raise WeightsError(f"{path}: not a readable JSON object ({first_line(error)}); fetch it again") from error
    return found
