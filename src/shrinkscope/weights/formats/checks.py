"""What every reader asks of names and shapes before anything is read or allocated."""

import math
import unicodedata
from collections.abc import Iterable

from shrinkscope.errors import WeightsError

LARGEST = 1 << 53
"""Elements of the largest tensor that is believed: eight petabytes of bytes, and exact in a float64."""

_DIMENSIONS = 32
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def shown(text: object, limit: int = 120) -> str:
    """Foreign text as it may be put into a message: one line, no control characters, not long."""
    escaped = "".join(
        char if unicodedata.category(char) not in _UNPRINTABLE else char.encode("unicode_escape").decode()
        for char in str(text)[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[:limit] + "…"


def first_line(error: BaseException) -> str:
    """The first line of what a library says about an error, fit for one of our messages."""
    text = str(error).strip() or type(error).__name__
    return shown(text.splitlines()[0].rstrip("."), 160)


def checked_name(name: object, origin: str) -> str:
    """The name of a tensor as stored, if it can be printed and compared.

    Args:
        name: What stands in the file.
        origin: The file, for messages.

    Returns:
        The name.

    Raises:
        WeightsError: If it is no text, empty, very long, or has control characters, which would act on a terminal.
    """
    if not isinstance(name, str):
        raise WeightsError(f"{origin}: a tensor is called {shown(repr(name))}; expected text; save a plain state dict")
    if not name or len(name) > 4096:
        raise WeightsError(f"{origin}: the name of a tensor has {len(name)} characters; expected 1 to 4096")
    if any(unicodedata.category(char) in _UNPRINTABLE for char in name):
        raise WeightsError(
            f"{origin}: the name {shown(name)!r} has control characters; rename the tensor and save again"
        )
    return name


def checked_shape(shape: Iterable[object], name: str, origin: str) -> tuple[int, ...]:
    """The shape of a tensor as stored, if such a tensor can exist.

    Args:
        shape: What stands in the file.
        name: The tensor, for messages.
        origin: The file, for messages.

    Returns:
        The shape.

    Raises:
        WeightsError: If a size is no whole number or negative, or there are absurdly many dimensions or elements.
    """
    sizes = tuple(shape)
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        raise WeightsError(f"{origin}: {name} has the shape {shown(list(sizes))}; expected whole numbers from 0 up")
    # Empty dimensions count as one: the strides of a tensor without elements must fit into 64 bits too.
    if len(sizes) > _DIMENSIONS or math.prod(max(size, 1) for size in sizes) > LARGEST:  # type: ignore[type-var]
        raise WeightsError(f"{origin}: {name} has the absurd shape {shown(list(sizes))}; is the file damaged?")
    return sizes  # type: ignore[return-value]
