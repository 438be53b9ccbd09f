"""The safetensors format: eight bytes with the length of a JSON header, the header, the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from shrinkscope.errors import WeightsError
from shrinkscope.kernel import SIZES
from shrinkscope.weights.formats.checks import checked_name, checked_shape, first_line, shown
from shrinkscope.weights.formats.span import FileSpan
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.remote.path import AnyPath

TYPES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_UNREAD = {"C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
"""Types of the format that have no meaning here as numbers, with their bits: complex, and less than a byte."""

_LONGEST_HEADER = 100_000_000
"""The format's own limit."""


def read_safetensors(path: AnyPath) -> Stored:
    """The tensors of a .safetensors file; only its header is read.

    Args:
        path: The file.

    Returns:
        Views of them, and the header's metadata.

    Raises:
        WeightsError: If the header is not what the format demands, in any detail: then no number is believed.
    """
    entries, begin, available = _header(path)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _bad(path, f"its metadata is {shown(metadata)}, not an object")
    views, unreadable, places = {}, {}, []
    for key, entry in entries.items():
        name = checked_name(key, str(path))
        kind, shape, start, stop = _entry(path, name, entry, available)
        places.append((start, stop, name))
        if kind in _UNREAD:
            unreadable[name] = f"its type {kind} is not read"
        else:
            span = FileSpan(path=path, offset=begin + start, type=TYPES[kind], shape=shape)
            views[name] = span.view(name)
    _check_places(path, places, available)
    text = {str(key): value for key, value in metadata.items() if isinstance(value, str)}
    return Stored(views=views, unreadable=unreadable, metadata=text)


def _header(path: AnyPath) -> tuple[dict[str, Any], int, int]:
    """The header, where the numbers begin, and how many bytes of them there are."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise _bad(path, f"it has {size} bytes and its header would need {length}")
            if length > _LONGEST_HEADER:
                raise _bad(path, f"its header would be {length} bytes long, and the format allows {_LONGEST_HEADER}")
            entries = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(path, first_line(error)) from error
    if not isinstance(entries, dict):
        raise _bad(path, "its header is no JSON object")
    return entries, 8 + length, size - 8 - length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{shown(key)} occurs twice in its header")
        found[key] = value
    return found


def _entry(path: AnyPath, name: str, entry: Any, available: int) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(path, f"{name} is described by {shown(entry)}; expected dtype, shape and data_offsets")
    kind, offsets = entry["dtype"], entry["data_offsets"]
    if not isinstance(kind, str) or (kind not in TYPES and kind not in _UNREAD):
        raise _bad(path, f"{name} has the unknown type {shown(kind)}")
    if not isinstance(entry["shape"], list):
        raise _bad(path, f"{name} has the shape {shown(entry['shape'])}")
    shape = checked_shape(entry["shape"], name, str(path))
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(place) is int for place in offsets):
        raise _bad(path, f"{name} lies at {shown(offsets)}; expected two whole numbers")
    start, stop = offsets
    if not 0 <= start <= stop <= available:
        raise _bad(path, f"{name} lies at bytes {shown(start)} to {shown(stop)} of {available}")
    bits = _UNREAD[kind] if kind in _UNREAD else 8 * SIZES[TYPES[kind]]
    if math.prod(shape) * bits != 8 * (stop - start):
        raise _bad(path, f"{name} has {stop - start} bytes for the shape {list(shape)} of {kind}")
    return kind, shape, start, stop


def _check_places(path: AnyPath, places: Iterable[tuple[int, int, str]], available: int) -> None:
    end, before = 0, "the header"
    for start, stop, name in sorted(places):
        if start < end:
            raise _bad(path, f"{name} and {before} overlap")
        if start > end:
            raise _bad(path, f"{start - end} bytes between {before} and {name} belong to no tensor")
        end, before = stop, name
    if end != available:
        raise _bad(path, f"{available - end} bytes behind {before} belong to no tensor")


def _bad(path: AnyPath, found: str) -> WeightsError:
    return WeightsError(f"{path}: not a readable safetensors file ({found}); is it truncated? Write or fetch it again")
