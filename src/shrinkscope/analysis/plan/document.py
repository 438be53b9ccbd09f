"""A record as TOML."""

import json
from collections.abc import Mapping
from typing import Any


def toml_text(record: Mapping[str, Any]) -> str:
    """A mapping as TOML: plain values first, then a table for each mapping, and one for each item of lists of them.

    Args:
        record: Text, numbers, truth values, lists and mappings; None is left out, since TOML has none.
    """
    plain = [f"{key} = {_value(value)}" for key, value in record.items() if value is not None and not _is_table(value)]
    parts = ["\n".join(plain)]
    for key, value in record.items():
        if isinstance(value, Mapping):
            parts.append("\n".join([f"[{key}]", *_lines(value)]))
        elif _is_table(value):
            parts += ["\n".join([f"[[{key}]]", *_lines(item)]) for item in value]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value)
    )


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(_lines(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)  # inf and nan are written the same way
