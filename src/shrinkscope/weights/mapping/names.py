"""Patterns of tensor names: ``*`` for any text, ``#`` for a number, the same texts filled in elsewhere."""

import re
from functools import lru_cache

from shrinkscope.errors import PairingError

_STAR = "(.+)"
_NUMBER = r"(\d+)"
# A leading "*." also stands for nothing at all, so that "*.qkv.weight" finds a tensor at the top of the network.
_PARENT = r"((?:.+\.)?)"


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    rest, text = (pattern[2:], _PARENT) if pattern.startswith("*.") else (pattern, "")
    for part in re.split(r"([*#])", rest):
        text += {"*": _STAR, "#": _NUMBER}.get(part) or re.escape(part)
    return re.compile(text)


def wildcards(pattern: str) -> str:
    """The wildcards of a pattern in their order, for example ``"*#*"``."""
    return "".join(re.findall(r"[*#]", pattern))


def fields(pattern: str, name: str) -> tuple[str, ...] | None:
    """What the wildcards of a pattern stand for in a name.

    Args:
        pattern: ``*`` stands for any text that is not empty, ``#`` for digits, and a leading ``*.`` for the modules
            around, or none.
        name: A tensor's name.

    Returns:
        One text a wildcard, None when the name does not match.
    """
    found = _compiled(pattern).fullmatch(name)
    return None if found is None else found.groups()


def filled(pattern: str, texts: tuple[str, ...]) -> str:
    """A pattern with its wildcards replaced by texts, as ``fields`` gave them.

    Args:
        pattern: A pattern with as many wildcards as there are texts.
        texts: One text a wildcard; of a leading ``*.`` the text ends in its dot.
    """
    parts = re.split(r"([*#])", pattern)
    waiting = iter(texts)
    name = "".join(next(waiting) if part in ("*", "#") else part for part in parts)
    if pattern.startswith("*.") and (not texts[0] or texts[0].endswith(".")):
        return texts[0] + name[len(texts[0]) + 1 :]
    return name


def check_wildcards(what: str, pattern: str, others: tuple[str, ...]) -> None:
    """Refuse patterns that cannot be filled from one another.

    Raises:
        PairingError: If their wildcards differ, or the first begins with ``*.`` and another does not.
    """
    for other in others:
        same = wildcards(other).replace("#", "") == wildcards(pattern).replace("#", "")
        if not same or (pattern.startswith("*.") and not other.startswith("*.")):
            raise PairingError(
                f"{what}: {pattern!r} and {other!r} have different wildcards; write as many * in both, in one order"
            )
